"""A borrower writes back on the sample page of the in-app feed, in a browser."""

from __future__ import annotations

from datetime import timedelta

from playwright.async_api import expect

from gateway.core.conversations import ConversationState
from tests.support.pages.browser import chromium, window
from tests.support.whole_gateway import REQUEST, up


async def test_a_reply_in_the_app_is_answered_at_once_where_that_matters() -> None:
    """Danger: whom to call is on the screen, and the conversation waits for a person."""
    async with chromium() as browser, up("2026-11-24T10:00:00+08:00") as running:
        status, _ = await running.call("POST", "/v1/notifications", {**REQUEST, "route": ["inapp"]})
        assert status == 202
        ledger = running.gateway.ledger
        token = ledger.signer.borrower_token("acme", "B-1001", ledger.clock() + timedelta(hours=1))
        async with window(browser, running.url) as page:
            await page.goto(f"/inbox#token={token}")
            await page.locator("summary").click()
            await page.get_by_label("Reply to").fill("我不想活了")
            await page.get_by_role("button", name="Send").click()
            await expect(page.get_by_role("status")).to_contain_text("1925")
        [waiting] = await running.gateway.conversations.store.queue("acme", ConversationState.WAITING, 5)
        assert (waiting.channel, waiting.urgency.name) == ("inapp", "NOW")
