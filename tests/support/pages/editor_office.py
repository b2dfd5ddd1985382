"""One lender's people before the editor's pages of a gateway, for browser tests."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from playwright.async_api import Browser, Locator, Page, expect

from tests.support.pages.browser import sign_in, window
from tests.support.whole_gateway import REQUEST, Running

TEMPLATE = "/editor/templates/overdue-first"
_MOST_TABS = 250  # our choice: more than any page has places


@dataclass(frozen=True)
class EditorOffice:
    """One lender's people, before a gateway and a browser that all tests of this file share."""

    tenant: str
    running: Running
    browser: Browser

    def window(self, **options: Any) -> AbstractAsyncContextManager[Page]:
        return window(self.browser, self.running.url, **options)

    def email(self, name: str) -> str:
        return f"{name}@{self.tenant}.example"

    async def enter(self, page: Page, name: str, back: str = "/editor") -> None:
        await sign_in(page, self.email(name), back)

    async def draft(self, page: Page) -> None:
        """Mei signs in and begins a draft."""
        await self.enter(page, "mei", TEMPLATE)
        await page.get_by_role("button", name="New version").click()
        await page.wait_for_url(f"**{TEMPLATE}/1?done=begin")

    async def sent_version(self, **changes: Any) -> dict[str, Any]:
        """What a new request, with ``changes``, is sent as; ``locale`` is the borrower's."""
        locale = changes.pop("locale", "en-US")
        gateway = self.running.gateway
        _, key = await gateway.ledger.keys.create(self.tenant, "case system", ["send", "read"], gateway.ledger.clock())
        number = os.urandom(4).hex()
        case, borrower = {**REQUEST["case"], "id": f"C-{number}"}, {**REQUEST["borrower"], "id": f"B-{number}"}
        body = {**REQUEST, "case": case, "borrower": {**borrower, "locale": locale}, **changes}
        client = replace(self.running, headers={"Authorization": f"Bearer {key}"})
        _, answer = await client.call("POST", "/v1/notifications", body)
        found = await client.until_at_rest(answer["id"])
        return {"version": found["template_version"], "state": found["state"]}


def field(page: Page, area: str) -> Locator:
    """Where a text is written, with its chips; ``area`` is the textarea that has what is sent."""
    return page.locator(f".code:has({area}) .cm-content")


async def tab_to(page: Page, place: Locator) -> None:
    """Reach a place by the tabulator alone."""
    await expect(place).to_be_visible()
    for _ in range(_MOST_TABS):
        if await place.evaluate("place => place === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"{place} can't be reached by the keyboard")


async def press(page: Page, place: Locator, key: str = "Enter") -> None:
    """Reach a place by the tabulator, and press a key there."""
    await tab_to(page, place)
    await page.keyboard.press(key)
