"""E-mails that a whole gateway receives: which may change a delivery or a borrower, and which may not."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from channels.base import CallbackRequest
from channels.email.reports import reply_address
from channels.email.sink import SmtpSink
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway, open_gateway
from gateway.app.settings import Settings
from gateway.core.requests import NotificationRequest
from tests.support.api_gateway import request
from tests.support.providers.fake_servers import clock, closed_port
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.waiting import LIMIT_SECONDS

TOKEN = "token-of-the-mail-server"
FORGED = "dlv_00000000000000000000000000000001.1.0123456789abcdef01234567"


def _complaint(field: str) -> bytes:
    return f"""From: feedback@mailbox.example
To: abuse@lender.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="=_b"

--=_b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Mailbox/1
Version: 1
{field}

--=_b
Content-Type: text/rfc822-headers

Message-ID: <made-up@lender.example>

--=_b--
""".encode()


def _bounce(reference: str) -> bytes:
    return f"""From: MAILER-DAEMON@mailbox.example
To: {reference}@lender.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"

--=_b
Content-Type: message/delivery-status

Reporting-MTA: dns; mailbox.example
Original-Envelope-Id: {reference}

Final-Recipient: rfc822; someone@mailbox.example
Action: failed
Status: 5.1.1

--=_b--
""".encode()


def _incoming() -> NotificationRequest:
    body = request(route=["email"])
    return NotificationIn(**body).incoming("", body)


@asynccontextmanager
async def _sending_mail(port: int) -> AsyncIterator[Gateway]:
    options = {"host": "127.0.0.1", "port": port, "tls": "none", "domain": "lender.example"}
    options |= {"from_address": "no-reply@lender.example", "callback_token": TOKEN, "timeout_seconds": 1}
    entry = {"channel": "email", "kind": "smtp", "name": "mail", "options": options}
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    begun(empty_sqlite(folder))
    try:
        chosen = Settings(data_dir=folder, at="2026-11-24T10:00:00+08:00", providers=[entry])
        async with open_gateway(chosen) as gateway:
            await gateway.ledger.keys.create("acme", "test", ["send"], gateway.ledger.clock())
            yield gateway
    finally:
        rmtree(folder, ignore_errors=True)


async def _receive(gateway: Gateway, raw: bytes) -> list[str]:
    callback = CallbackRequest("http://x/", {"authorization": f"Bearer {TOKEN}"}, {}, raw)
    return await gateway.path.receiver.receive("mail", callback)


async def _delivery(gateway: Gateway, notification_id: str) -> dict[str, Any]:
    found = await gateway.ledger.reads.notification("acme", notification_id)
    assert found is not None
    delivery: dict[str, Any] = found["deliveries"][0]
    return delivery


@pytest.mark.parametrize(
    "raw",
    [
        _complaint("X: y"),
        _complaint(f"Original-Mail-From: <{FORGED}@lender.example>"),
        _complaint(f"Original-Envelope-Id: {FORGED}"),
        _bounce(FORGED),
        _bounce("not-even.a.reference"),
    ],
    ids=["message-id alone", "forged return path", "forged envelope id", "forged bounce", "nonsense"],
)
async def test_a_forged_report_changes_nothing_and_is_counted(raw: bytes) -> None:
    """A report without a signed reference opts nobody out: least of all who waits for a first e-mail without an id.

    It may be genuine all the same, so a person reads it.
    """
    async with _sending_mail(await closed_port()) as gateway:
        [answer] = await gateway.path.pipeline.accept("acme", [_incoming()])
        await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
        async with asyncio.timeout(LIMIT_SECONDS):
            while (await _delivery(gateway, answer.id))["state"] != "retrying":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await _receive(gateway, raw) == ["for_review"]
        assert not (await gateway.ledger.reads.borrower("acme", "B-1") or {}).get("opt_outs")
        assert (await _delivery(gateway, answer.id))["state"] == "retrying"
        exposed = gateway.path.metrics.render()[0].decode()
        counted = [line for line in exposed.splitlines() if 'result="for_review"' in line and line.endswith(" 1.0")]
        assert len(counted) == 1
        refused = 'gateway_callbacks_refused_total{provider="mail",reason="unverified_reference"} '
        assert f"{refused}{float(b'X: y' not in raw)}" in exposed
        assert len(await gateway.operations.reviews.waiting("acme", None, 10)) == 1


async def test_nothing_is_looked_up_by_an_empty_id() -> None:
    """The ledger itself answers that nobody owns the empty id, although deliveries have it."""
    async with _sending_mail(await closed_port()) as gateway:
        await gateway.path.pipeline.accept("acme", [_incoming()])
        assert await gateway.path.store.owner("mail", "") is None
        assert await gateway.path.store.owner("", "") is None


@pytest.mark.parametrize("signed", [True, False])
async def test_a_stop_by_mail_holds_for_the_address_that_was_written_to(signed: bool) -> None:
    """The signed reference in the reply address says whose reply it is, whatever From says."""
    async with _sending_mail(await closed_port()) as gateway:
        [answer] = await gateway.path.pipeline.accept("acme", [_incoming()])
        delivery = await _delivery(gateway, answer.id)
        reference = gateway.ledger.signer.reference(delivery["id"], 1)
        if not signed:
            reference = reference[:-4] + ("0000" if not reference.endswith("0000") else "1111")
        to = reply_address(reference, "lender.example")
        raw = f"To: {to}\r\nFrom: somebody@else.example\r\nMessage-ID: <1@x>\r\n\r\nSTOP\r\n".encode()
        callback = CallbackRequest("http://x/", {"authorization": f"Bearer {TOKEN}"}, {}, raw)
        assert await gateway.path.receiver.reply("mail", callback) == (b"", "text/plain")
        shown = await gateway.ledger.reads.borrower("acme", "B-1") or {}
        assert [each["channel"] for each in shown.get("opt_outs", ())] == (["email"] if signed else [])
        case = {**request()["case"], "id": "C-another"}
        body = request(route=["email"], case=case)
        [second] = await gateway.path.pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
        assert second.state == ("suppressed" if signed else "accepted")


async def test_a_stop_by_a_pipe_is_confirmed_by_mail() -> None:
    """What a mail server's program posts is answered as what comes by LMTP: to the address written to, once."""
    sink = SmtpSink(clock)
    await sink.start()
    try:
        async with _sending_mail(sink.port) as gateway:
            body = request(route=["email"])
            body["borrower"] |= {"jurisdiction": "us", "locale": "en", "time_zones": ["Pacific/Auckland"]}
            [answer] = await gateway.path.pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
            reference = gateway.ledger.signer.reference((await _delivery(gateway, answer.id))["id"], 1)
            to = reply_address(reference, "lender.example")
            for number in range(2):
                head = f"To: {to}\r\nFrom: somebody@else.example\r\nMessage-ID: <{number}@x>\r\n"
                raw = f"{head}\r\nSTOP".encode()
                callback = CallbackRequest("http://x/", {"authorization": f"Bearer {TOKEN}"}, {}, raw)
                assert await gateway.path.receiver.reply("mail", callback) == (b"", "text/plain")
            [confirmation] = sink.mails
            assert confirmation.recipient == body["borrower"]["addresses"]["email"]
            assert confirmation.sender in ("", "<>")
            assert b"Auto-Submitted: auto-replied" in confirmation.raw
    finally:
        await sink.stop()
