"""Borrowers' own pages in a browser: one link from a message, no sign-in, and what is chosen there holds."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.pages.accessibility import look
from tests.support.pages.browser import chromium, window
from tests.support.whole_gateway import REQUEST, Running, up

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[tuple[Running, Browser]]:
    """A whole gateway in the morning, and Chromium."""
    async with chromium() as browser, up("2026-11-24T10:00:00+08:00") as running:
        yield running, browser


def _request(number: int, locale: str, route: list[Any]) -> dict[str, Any]:
    addresses = {"email": f"b{number}@example.com", "inapp": f"B-{number}", "sms": f"+8869123456{number:02d}"}
    borrower = {**REQUEST["borrower"], "id": f"B-{number}", "locale": locale, "addresses": addresses}
    case = {**REQUEST["case"], "id": f"C-{number}"}
    return {**REQUEST, "borrower": borrower, "case": case, "route": route, "dedup_key": f"{number}-{route}"}


async def _link(running: Running, number: int, locale: str) -> str:
    """The path of the link in an e-mail that was sent, after a message to the borrower's feed."""
    _, feed = await running.call("POST", "/v1/notifications", _request(number, locale, ["inapp"]))
    await running.until_at_rest(feed["id"])
    _, mail = await running.call("POST", "/v1/notifications", _request(number, locale, ["email"]))
    shown = await running.read(mail["id"])
    token = running.gateway.ledger.signer.message_token(shown["deliveries"][0]["id"])
    return f"/m/{token}"


async def test_a_borrower_reads_chooses_writes_and_declines(house: tuple[Running, Browser]) -> None:
    """Everything on the pages, by one link: each step is said, kept in the record, and obeyed by the policy."""
    running, browser = house
    path = await _link(running, 1, "zh-TW")
    assert not re.search(r"B-1|C-1|example\.com", path)
    async with window(browser, running.url, locale="en-GB") as page:
        await page.goto(path)
        await expect(page.locator("html")).to_have_attribute("lang", "zh-Hant")
        await expect(page.locator("main")).to_contain_text("您的案號：C-1")
        assert await page.context.cookies() == []
        await look(page, "own-overview-zh-Hant")

        await page.get_by_role("link", name="您的訊息").click()
        await expect(page.locator("li").first).to_contain_text("新")
        assert await page.get_by_role("link", name="https://example.com/help").count() == 1
        await look(page, "own-messages-zh-Hant")
        await page.get_by_role("button", name="標為已讀").first.click()
        await expect(page.get_by_role("button", name="標為已讀")).to_have_count(0)
        await page.get_by_label("留言內容").fill("請問可以分期嗎？")
        await page.get_by_role("button", name="送出").click()
        await expect(page.get_by_role("status")).to_contain_text("我們已收到您的留言")
        _, record = await running.call("GET", "/v1/borrowers/B-1")
        assert [(each["intent"], each["text"]) for each in record["replies"]] == [("plan", "請問可以分期嗎？")]

        await page.goto(f"{path}/help")
        await expect(page.get_by_role("link", name=re.compile("法律扶助基金會"))).to_have_attribute(
            "href", "https://www.laf.org.tw/"
        )
        await look(page, "own-help-zh-Hant")

        await page.goto(f"{path}/preferences")
        await page.get_by_label("簡訊").uncheck()
        await page.get_by_label("從").select_option("18:00")
        await page.get_by_label("到").select_option("17:00")
        await page.get_by_role("button", name="儲存").click()
        await expect(page.get_by_role("alert")).to_contain_text("結束時間須晚於開始時間")
        await page.get_by_label("從").select_option("15:00")
        await page.get_by_label("到").select_option("17:00")
        await page.get_by_label("English").check()
        await page.get_by_label("簡訊").uncheck()
        await page.get_by_role("button", name="儲存").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved. It holds from now on.")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await look(page, "own-preferences-en")

        await page.goto(path)
        await page.get_by_role("link", name="Stop these e-mails").click()
        await look(page, "own-unsubscribe-en")
        await page.get_by_role("button", name="Stop these e-mails").click()
        await expect(page.locator("h1")).to_contain_text("Done")
        await page.get_by_role("button", name="Undo").click()
        await expect(page.locator("h1")).to_contain_text("on again")
        await page.goto(f"{path[:-1]}{'0' if path[-1] != '0' else '1'}")
        await expect(page.locator("h1")).to_contain_text("not complete")
    await _obeyed(running)


async def _obeyed(running: Running) -> None:
    """The SMS is off, and the record and the timeline say what was chosen."""
    _, record = await running.call("GET", "/v1/borrowers/B-1")
    assert [(each["channel"], each["source"]) for each in record["opt_outs"]] == [("sms", "own_page")]
    assert record["chosen"] == {"windows": [["15:00", "17:00"]], "language": "en"}
    _, verdict = await running.call("POST", "/v1/decisions", _request(1, "zh-TW", ["sms"]))
    assert (verdict["verdict"], verdict["reason"]) == ("suppress", "opted_out")
    _, timeline = await running.call("GET", "/v1/borrowers/B-1/timeline")
    assert "preferences_chosen" in [each["kind"] for each in timeline["events"]]
