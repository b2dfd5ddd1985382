"""A conversation in a browser, from the first reply to a person's answer and a promise that pauses the journey."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import Page, expect
from sqlalchemy import select

from channels.base import Reply
from gateway.conversations.assistant_settings import AssistantSettings
from gateway.storage.tables.journeys import journeys
from gateway.storage.tables.path import notifications
from tests.support.api_gateway import case_body
from tests.support.journeys.cases import SHORT
from tests.support.pages.accessibility import look
from tests.support.pages.browser import PASSWORD, chromium, sign_in, window
from tests.support.waiting import eventually
from tests.support.whole_gateway import Running, up

PHONE = "+886912345678"
HOURS = {"en": "Mon to Fri, 09:00 to 18:00"}


async def _live_journey(running: Running) -> None:
    definitions = running.gateway.journeys.definitions
    await definitions.save("acme", SHORT, "user:a")
    await definitions.submit("acme", "short", 1, "user:a")
    await definitions.approve("acme", "short", 1, "user:b")
    await definitions.publish("acme", "short", 1, "user:b")
    status, _ = await running.call("PUT", "/v1/cases/C-1", case_body())
    assert status < 300


async def _writes(running: Running, text: str, sid: str) -> None:
    provider = next(name for name, each in running.gateway.providers.by_name.items() if each.channel == "sms")
    assert await running.gateway.path.receiver.handle_provider_push(provider, [], [Reply(provider, sid, PHONE, text)])


async def _sent(running: Running) -> list[str]:
    query = select(notifications.c.template).order_by(notifications.c.id)
    return list(await running.gateway.ledger.database.read(lambda connection: connection.execute(query).scalars()))


async def _journey(running: Running) -> Any:
    query = select(journeys.c.state)
    return await running.gateway.ledger.database.read(lambda connection: connection.execute(query).scalar())


async def _answered_by_a_person(page: Page, other: Page) -> str:
    """Ana claims, is told what is wrong in her words, answers and hands back; Ben can't answer meanwhile."""
    await sign_in(page, "ana@acme.example", "/desk")
    await page.get_by_role("link", name="Conversations").click()
    await expect(page.locator("main")).to_contain_text("asks for another language")
    await look(page, "conversations")
    await page.get_by_role("link", name=re.compile("asks for another language")).click()
    await sign_in(other, "ben@acme.example", path := page.url.partition("/desk")[1] + page.url.partition("/desk")[2])
    await page.get_by_role("button", name="Claim").click()
    await expect(page.get_by_role("status")).to_contain_text("yours for a quarter of an hour")
    await other.get_by_role("button", name="Claim").click()
    await expect(other.get_by_role("alert")).to_contain_text("Somebody else is answering")
    token = await page.locator("input[name=form_token]").first.get_attribute("value")
    form = {"form_token": token or "", "text": "謝謝您", "revision": "9" * 5_000}  # more digits than int() takes
    assert (await page.request.post(f"{path}/answer", form=form)).status == 422
    await page.get_by_label("Your own words").fill("不繳就叫警察到府上")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert")).to_contain_text("警察")
    await page.get_by_label("Your own words").fill("謝謝您，我們今天下午會致電給您。")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("status")).to_contain_text("The answer is accepted")
    await expect(page.locator("ol.timeline")).to_contain_text("我們今天下午會致電給您")
    await page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    await look(page, "conversation")
    await page.goto(f"/language/zh?back={path}")
    await expect(page.locator("main")).to_contain_text("已回复")
    await look(page, "conversation-zh")
    await page.get_by_role("button", name="交还自动助手").click()
    await expect(page.locator("main")).to_contain_text("没有等待回复的对话")
    return path


async def _promises(running: Running, page: Page, identifier: str) -> None:
    """By a one-time link the borrower shows that it is them; the promise is read back, confirmed, and followed."""
    services = running.gateway.conversations
    issued = await services.links.issue(await services.store.find("acme", identifier))
    assert issued is not None
    await page.goto(issued.link)
    await look(page, "verify")
    await page.get_by_role("button").click()
    await expect(page.locator("main")).to_contain_text("A colleague will answer you")  # no case system is configured
    await services.desk.claim("acme", identifier, "user:a")
    await services.desk.hand_back("acme", identifier, "user:a")
    await _writes(running, "星期一還一千", "SM2")
    await eventually(lambda: _has(running, "reply-confirm-promise"))
    await _writes(running, "是", "SM3")
    await eventually(lambda: _has(running, "reply-noted"))


async def _has(running: Running, template: str) -> bool:
    return template in await _sent(running)


async def _paused(running: Running) -> bool:
    return await _journey(running) == "paused"


async def test_from_a_reply_to_a_persons_answer_and_a_promise() -> None:
    """In two windows and two languages: one person answers, the borrower promises, the journey pauses."""
    settings = {"acme": AssistantSettings(hours=HOURS, holdout=0)}
    async with chromium() as browser, up("2026-11-24T10:00:00+08:00", assistant=settings) as running:
        ledger = running.gateway.ledger
        for name in ("Ana", "Ben"):
            await ledger.users.add("acme", name, f"{name.lower()}@acme.example", "agent", PASSWORD, ledger.clock())
        await _live_journey(running)
        await eventually(lambda: _has(running, "overdue-first"))
        await _writes(running, "請用英文回覆我", "SM1")
        async with window(browser, running.url) as page, window(browser, running.url) as other:
            path = await _answered_by_a_person(page, other)
            await _promises(running, page, path.rpartition("/")[2])
        await eventually(lambda: _paused(running))
