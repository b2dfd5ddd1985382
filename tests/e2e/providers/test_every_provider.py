"""One reminder through each provider, from POST to the last receipt: ops/channels-tried.md is what this test saw.

After an intended change: ``REWRITE_TRIED=1 pytest tests/e2e/providers/test_every_provider.py``; read the diff.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from channels.base import TemplateStatus
from channels.loopback import LoopbackServer
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.provider_templates import ProviderTemplate, Slot
from tests.support.providers.every_provider import APPROVED, OtherSides, other_sides
from tests.support.waiting import eventually
from tests.support.whole_gateway import REQUEST, Running, up

PAGE = Path(__file__).parents[3] / "ops" / "channels-tried.md"
HEAD = """# Tried: one reminder through each provider

A whole gateway, and each provider's server on loopback, which checks signatures and shapes.
`tests/e2e/providers/test_every_provider.py` sends each row by `POST /v1/notifications`, waits for the last receipt, and
compares this page with what it saw; `REWRITE_TRIED=1` writes it. LINE reports nothing of a push message, so its end is
that nothing is proven.

| provider | address | state | reason | read | what the other side saw |
|---|---|---|---|---|---|
"""
WORDS = "{{ lender.name }}: we received {{ amount | money: currency }}.\n"
SLOTS = (Slot("amount", "{{ amount | money: currency }}"),)
CHANNELS = ("sms", "whatsapp", "rcs", "line", "line_notification", "wechat")
# What each provider calls its template; the others take free text.
TEMPLATES = {"aliyun": "SMS_1", "tencent": "100", "meta": "received", "twilio-whatsapp": "HX1", "wechat": "T1",
             "line-notification": "received"}  # fmt: skip


async def _publish(gateway: Running) -> None:
    """The texts of all channels, and what each provider calls its template."""
    ledger = gateway.gateway.ledger
    _, key = await ledger.keys.create("acme", "texts", ["send", "read", "manage", "admin"], ledger.clock())
    gateway.headers["Authorization"] = f"Bearer {key}"
    _, live = await gateway.call("GET", "/v1/templates/payment-received/live")
    files = {**live["files"], **{f"en-US/{channel}.liquid": WORDS for channel in CHANNELS}}
    body = {"templates": {"payment-received": files}, "comment": "channels", "publish": True, "confirm": True}
    status, answer = await gateway.call("POST", "/v1/templates/import", body)
    assert status == 200, answer
    version = gateway.gateway.templates.catalog.resolve("acme", "payment-received", None, ledger.clock()).version
    for provider, reference in TEMPLATES.items():
        place = ("acme", provider, "payment-received", version, "en-US")
        ttl = timedelta(minutes=30)
        made = ProviderTemplate(place, reference, "en", APPROVED, SLOTS, TemplateStatus.APPROVED, ttl)
        await gateway.gateway.path.forms.put(made)


async def _sent(gateway: Running, number: int, channel: str, address: str) -> str:
    """POST one service message; its id."""
    if channel == "whatsapp":
        consent = {"category": "service", "channel": channel, "source": "branch form", "evidence": "archive"}
        status, given = await gateway.call("POST", f"/v1/borrowers/B-{number}/consents", consent)
        assert status == 201, given
    borrower = {**REQUEST["borrower"], "id": f"B-{number}", "locale": "en-US", "addresses": {channel: address}}
    body = {
        **REQUEST,
        "borrower": borrower,
        "case": {**REQUEST["case"], "id": f"C-{number}"},
        "template": "payment-received",
        "variables": {"amount": "12.00", "currency": "USD", "paid_on": "2026-11-24"},
        "route": [channel],
    }
    status, taken = await gateway.call("POST", "/v1/notifications", body)
    assert status == 202, taken
    return str(taken["id"])


def _recorded(*servers: LoopbackServer) -> list[tuple[str, bytes, Mapping[str, str]]]:
    """The callbacks that these servers send from now on: URL, body, headers."""
    came: list[tuple[str, bytes, Mapping[str, str]]] = []

    def record(server: LoopbackServer) -> None:
        send = server.call_back

        async def call_back(url: str, body: bytes, headers: Mapping[str, str]) -> None:
            came.append((url, body, headers))
            await send(url, body, headers)

        server.call_back = call_back  # type: ignore[method-assign]

    for each in servers:
        record(each)
    return came


async def _tell_again(gateway: Running, came: Sequence[tuple[str, bytes, Mapping[str, str]]]) -> None:
    """Each callback twice more, in the opposite order and after the end; and each once with another signature."""
    for url, body, headers in [*reversed(came), *reversed(came)]:
        async with gateway.http.post(url, data=body, headers=headers) as answer:
            assert answer.status in (200, 204), url
    for url, body, headers in came:
        signed = {name: value[::-1] if "Signature" in name else value for name, value in headers.items()}
        async with gateway.http.post(
            url.replace("msg_signature=", "msg_signature=0"), data=body, headers=signed
        ) as answer:
            assert answer.status == 403, url


async def _begun(gateway: Running, notification_id: str) -> bool:
    return bool((await gateway.read(notification_id))["deliveries"][0]["attempt"])


async def _read(gateway: Running, notification_id: str) -> bool:
    return (await gateway.read(notification_id))["deliveries"][0]["read_at"] is not None


def _ends(notification: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    names = ("state", "reason", "attempt", "read_at", "due_at")
    return [tuple(each[name] for name in names) for each in notification["deliveries"]]


async def _seen(gateway: Running, sides: OtherSides, number: int) -> list[str]:
    """What the borrower of a case reads."""
    provider, _, address = CASES[number]
    if provider == "feed":
        items, _ = await gateway.gateway.providers.inbox.page("acme", f"B-{number}")
        return [each.text for each in items]
    return sides.seen(provider, address)


# Provider, channel, address; where two of one channel follow each other, each is pinned to its own.
CASES = (
    ("twilio-sms", "sms", "+12025550101"),
    ("twilio-sms", "sms", "+12025550199"),
    ("smpp", "sms", "+12025550102"),
    ("smpp", "sms", "+13125550199"),
    ("aliyun", "sms", "+8613800138000"),
    ("aliyun", "sms", "+8613800138090"),
    ("tencent", "sms", "+8613800138001"),
    ("tencent", "sms", "+8613800139090"),
    ("meta", "whatsapp", "+12025550188"),
    ("meta", "whatsapp", "+12025550190"),
    ("twilio-whatsapp", "whatsapp", "+12025550103"),
    ("twilio-whatsapp", "whatsapp", "+16465550199"),
    ("twilio-rcs", "rcs", "+12025550104"),
    ("twilio-rcs", "rcs", "+12125550199"),
    ("line-push", "line", f"U{1:032d}"),
    ("line-push", "line", f"U{95:032d}"),
    ("line-notification", "line_notification", "+12025550105"),
    ("wechat", "wechat", f"o{1:027d}"),
    ("wechat", "wechat", f"o{91:027d}"),
    ("mail", "email", "chen@example.com"),
    ("mail", "email", "dsnfail@example.com"),
    ("feed", "inapp", "B-21"),
)


async def test_one_reminder_through_each_provider_from_post_to_the_last_receipt() -> None:
    """State, reason, and what the other side saw, once each, are as they were read."""
    async with other_sides() as sides, up(
        "2026-11-24T10:00:00+08:00", providers=sides.providers(), receipt_hours=6, time_scale=3600
    ) as gateway:  # fmt: skip
        sides.report_to(gateway.url)
        came = _recorded(sides.whatsapp, sides.line, sides.wechat)
        sides.tencent.now = lambda: gateway.gateway.ledger.clock().timestamp()
        await _publish(gateway)
        controls, rows, pins, sent = gateway.gateway.path.controls, [], {}, {}
        for number, (provider, channel, address) in enumerate(CASES):
            if pins.get(channel, ("", ""))[0] != provider:
                if channel in pins:
                    await controls.end(pins[channel][1], "test")
                pinned = await controls.set(SwitchKind.PIN, SwitchScope.PROVIDER, provider, "acme", "try", "test", None)
                pins[channel] = (provider, pinned["id"])
            sent[number] = await _sent(gateway, number, channel, address)
            await eventually(partial(_begun, gateway, sent[number]))
        for number, (provider, channel, address) in enumerate(CASES):
            found = await gateway.until_at_rest(sent[number])
            [delivery] = found["deliveries"]
            assert delivery["provider"] == provider
            if provider == "meta" and delivery["state"] == "delivered":
                await eventually(partial(_read, gateway, sent[number]))
                [delivery] = (await gateway.read(sent[number]))["deliveries"]
            seen = "; ".join(await _seen(gateway, sides, number)) or "nothing"
            read = "yes" if delivery["read_at"] else ""
            shortened = address.partition("@")[0] if channel == "email" else f"…{address[-2:]}"
            rows.append((provider, shortened, delivery["state"], delivery["reason"], read, seen))
        # Repeated, shuffled, late and forged, they change nothing.
        assert len({url.partition("?")[0] for url, _, _ in came}) == 3
        before = [await gateway.read(each) for each in sent.values()]
        await _tell_again(gateway, came)
        after = [await gateway.read(each) for each in sent.values()]
        assert [_ends(each) for each in after] == [_ends(each) for each in before]
    shown = HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if os.environ.get("REWRITE_TRIED"):
        PAGE.write_text(shown, "utf-8")
    assert shown == PAGE.read_text("utf-8"), "if this is meant, see the top of this file"
