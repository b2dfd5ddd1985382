"""The pages below /ops in a browser: pausing, resuming, pinning, redriving, giving up, webhooks; and who may do it."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from sqlalchemy import update

from gateway.core.reasons import PolicyReason
from gateway.core.states import State
from gateway.identity.sessions import Sessions
from gateway.operations.processes import Heartbeat
from gateway.stages.route import ProviderError, ProviderHealth
from gateway.storage.tables.path import deliveries, notifications
from tests.support.api_gateway import request
from tests.support.app_client import AppClient
from tests.support.pages.accessibility import look
from tests.support.pages.browser import PASSWORD, chromium, sign_in, window
from tests.support.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class ControlRoom:
    """One lender with an operator; four notifications failed, one is unknown, and one waits for review."""

    client: AppClient
    browser: Browser
    failed: list[str]

    async def enter(self, page: Page, role: str, back: str = "/ops") -> None:
        await sign_in(page, f"{role}@acme.example", back)

    async def session(self, role: str) -> aiohttp.ClientSession:
        """Somebody who has signed in, without a browser."""
        ledger = self.client.gateway.ledger
        user = await ledger.users.find(f"{role}@acme.example")
        assert user is not None
        cookie = await Sessions(ledger.database, ledger.signer).open(user, ledger.clock())
        return aiohttp.ClientSession(self.client.url, cookies={"gateway_session": cookie})

    async def act(self, page: Page, button: str, reason: str, field: str = "#act-reason") -> None:
        await page.locator(field).fill(reason)
        await page.get_by_role("button", name=button, exact=True).click()


async def _stand(client: AppClient, identifier: str, state: State, reason: str) -> None:
    """Put a notification and its delivery where a worker would have brought them."""

    def write(connection: Any) -> None:
        values = {"state": state, "reason": reason}
        mine = deliveries.c.notification_id == identifier
        connection.execute(update(deliveries).where(mine).values(**values, due_at=None))
        connection.execute(update(notifications).where(notifications.c.id == identifier).values(**values))

    await client.gateway.ledger.database.write(write)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(shared_app_client: AppClient) -> AsyncIterator[ControlRoom]:
    """No worker runs: what waits stays where a test has put it. A heartbeat says how a worker saw the providers."""
    ledger, client = shared_app_client.gateway.ledger, shared_app_client
    for role in ("viewer", "operator", "supervisor", "platform"):
        await ledger.users.add("acme", f"{role.title()} Ng", f"{role}@acme.example", role, PASSWORD, ledger.clock())
    made = [(await client.post("/v1/notifications", request(number))).json["id"] for number in range(6)]
    for identifier in made[:4]:
        await _stand(client, identifier, State.FAILED, "provider_config")
    await _stand(client, made[4], State.UNKNOWN, "timeout")
    await _stand(client, made[5], State.REVIEW, PolicyReason.UNKNOWN_ZONE)
    errors = (ProviderError("provider_config", "20003", 3, ledger.clock() - timedelta(seconds=5)),)
    health = {name: ProviderHealth(0.0, 9, 3, errors) for name in client.gateway.providers.by_name}
    # In an hour, so that the worker counts as alive however slowly the tests run.
    await Heartbeat(ledger.database, "worker", "1.0").beat(ledger.clock() + timedelta(hours=1), health)
    endpoint = await client.gateway.webhooks.endpoints.create("acme", "http://127.0.0.1:9/hooks?key=secret", [])
    assert endpoint["secret"]
    async with chromium() as browser:
        yield ControlRoom(client, browser, made[:4])


async def test_an_operator_acts(room: ControlRoom) -> None:
    """Each act is done with a reason, said, and stands in the administrators' log; a channel is stopped and started."""
    async with window(room.browser, room.client.url) as page:
        await room.enter(page, "operator", "/ops/runbooks")
        await page.get_by_role("link", name="Pauses and pins", exact=True).click()
        await page.locator("#pause-target").select_option("channel:sms")
        await page.locator("#pause-duration").select_option("PT1H")
        await room.act(page, "Stop sending now", "wrong amounts", "#pause-reason")
        await expect(page.get_by_role("status")).to_have_text("Sending is stopped.")
        await expect(page.locator("tbody").first).to_contain_text("wrong amounts")
        await page.goto("/ops")
        await expect(page.locator(".warnings")).to_contain_text("Active pauses: 1.", timeout=LIMIT_SECONDS * 1000)
        await page.goto("/ops/controls")
        await page.get_by_role("button", name="End: pause channel sms").click()
        await expect(page.get_by_role("status")).to_contain_text("It is ended.")
        await page.goto("/ops/providers")
        await expect(page.locator("main")).to_contain_text("The provider refuses our account or settings (20003)")
        await page.get_by_role("link", name=re.compile("Pin a provider: sms")).click()
        await room.act(page, "Pin a provider", "the other one moves", "#pin-reason")
        await expect(page.get_by_role("status")).to_have_text("The provider is pinned.")

        await page.goto("/ops/dead-letters")
        await room.act(page, "Try again", "nothing is selected")
        await expect(page.get_by_role("alert")).to_contain_text("Select at least one")
        await page.goto("/ops/dead-letters")
        await page.get_by_role("checkbox").first.check()
        await room.act(page, "Try again", "credentials mended")
        await expect(page.get_by_role("status")).to_have_text("Tried again: 1.")
        await page.get_by_role("link", name=room.failed[1]).click()
        await room.act(page, "Give up", "moved abroad")
        await expect(page.get_by_role("status")).to_contain_text("Given up: 1.")
        await page.goto(f"/ops/notifications/{room.failed[1]}")
        await expect(page.locator(".history")).to_contain_text("moved abroad")
        await expect(page.get_by_role("button", name="Give up")).to_have_count(0)
        await page.goto("/ops/dead-letters?reason=provider_config")
        await page.get_by_role("checkbox", name=re.compile("All that match")).check()
        await room.act(page, "Try again", "all of them")
        await expect(page.get_by_role("status")).to_have_text("Tried again: 2.")

        await page.goto("/ops/unknown")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.goto("/ops/reviews")
        await expect(page.locator("tbody")).to_contain_text("Borrower's time zone unknown")
        await page.goto("/ops/webhooks")
        await expect(page.locator("main")).not_to_contain_text("secret")
        await page.get_by_role("link", name="127.0.0.1:9").click()
        await page.get_by_role("button", name="Send a test message").click()
        await expect(page.get_by_role("status")).to_be_visible()
        await page.get_by_role("button", name="Send what was not delivered again").click()
        await expect(page.get_by_role("status")).to_contain_text("To be sent again: 1.")
    entries = await room.client.gateway.ledger.admin_log.listed("acme", 100)
    done = {each["operation"] for each in entries if each["outcome"] == "begun"}
    assert {
        "POST /ops/controls",
        "POST /ops/controls/{control_id}/end",
        "POST /ops/dead-letters/redrive",
        "POST /ops/dead-letters/give-up",
        "POST /ops/webhooks/{endpoint_id}/{act}",
    } <= done


async def test_nobody_does_what_the_role_does_not_permit(room: ControlRoom) -> None:
    """It is not shown, and refused all the same: a viewer's act, an operator's pause of every lender."""
    forged = {"kind": "pause", "target": "all", "reason": "a test"}
    for role, path, form, status in (
        ("viewer", "/ops/controls", forged, 403),
        ("supervisor", "/ops/dead-letters/redrive", {"reason": "a test"}, 403),
        ("operator", "/ops/controls", {**forged, "everywhere": "1"}, 403),
        ("operator", "/ops/controls", {**forged, "target": "tenant:acme"}, 403),
        ("operator", "/ops/controls", {**forged, "reason": ""}, 422),
        ("operator", "/ops/controls", {**forged, "target": "channel:pigeon"}, 422),
        ("operator", "/ops/controls/swi_none/end", {}, 409),
        ("operator", "/ops/webhooks/whe_none/test", {}, 404),
        ("platform", "/ops/controls", {**forged, "target": "tenant:other"}, 200),
    ):
        async with await room.session(role) as visitor:
            async with visitor.get("/ops") as answer:
                text = await answer.text()
            assert ('href="/ops/dead-letters"' in text) is (role in ("operator", "platform"))
            assert ('href="/ops/sessions"' in text) is (role == "platform")
            async with visitor.get("/ops/controls") as answer:
                assert ('action="/ops/controls"' in await answer.text()) is (role in ("operator", "platform"))
            token = re.findall(r'name="form_token" value="([^"]+)"', text)[0]
            for given, expected in (("", 403), (token, status)):
                async with visitor.post(path, data={"form_token": given, **form}) as answer:
                    assert answer.status == expected, (role, path, form)
    assert [each["value"] for each in await room.client.gateway.path.controls.listed("acme", ended=False)][:1] != [
        "all"
    ]


async def test_every_page_keeps_to_wcag(room: ControlRoom) -> None:
    """Each page with something on it, in four looks; one of them in Chinese."""
    await _stand(room.client, room.failed[0], State.FAILED, "provider_config")
    async with window(room.browser, room.client.url) as page:
        await room.enter(page, "platform")
        for name in ("controls", "dead-letters", "runbooks/GatewayChannelDown", *_MORE):
            await page.goto(f"/ops/{name}".rstrip("/"))
            await look(page, f"ops-{name.replace('/', '-')}")
        await page.goto("/language/zh?back=/ops/webhooks")
        await look(page, "ops-webhooks-zh")


# Pages that are made of what the others have: looked at where pictures are wanted.
_MORE = (
    ("", "providers", "unknown", "reviews", "webhooks", "runbooks", "sessions")
    if os.environ.get("GATEWAY_TEST_SCREENSHOTS")
    else ()
)
