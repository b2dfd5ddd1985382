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


async def test_a_message_that_arrives_leaves_what_is_being_written() -> None:
    """The list is made anew around the open form: its words and the focus stay."""
    async with chromium() as browser, up("2026-11-24T10:00:00+08:00") as running:
        ledger, inbox = running.gateway.ledger, running.gateway.providers.inbox
        await inbox.put("acme", "B-1001", "dlv_1", "First", "A text")
        token = ledger.signer.borrower_token("acme", "B-1001", ledger.clock() + timedelta(hours=1))
        async with window(browser, running.url) as page:
            await page.goto(f"/inbox#token={token}")
            await page.locator("summary").click()
            field = page.get_by_label("Reply to: First")
            await field.fill("我下星期")
            await inbox.put("acme", "B-1001", "dlv_2", "Second", "A text")
            await page.evaluate("load()")
            await expect(page.get_by_role("heading", name="Second")).to_be_visible()
            await expect(field).to_have_value("我下星期")
            await expect(field).to_be_focused()
