"""Debian's Chromium, headless and silent, for tests of pages; without it they are skipped with a word."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.waiting import LIMIT_SECONDS

expect.set_options(timeout=LIMIT_SECONDS * 1000)  # of Playwright's own it would be 5 s, which a busy machine takes

PASSWORD = "correct horse battery staple"
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser with a new directory of its own, gone afterwards."""
    binary = next(filter(None, map(shutil.which, _NAMES)), None)
    if binary is None:
        pytest.skip(f"{_NAMES[0]} is missing: pages are not looked at (Debian: apt install {_NAMES[0]})")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=list(_FLAGS), env=dict(os.environ))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """One person's window. What its policy blocks or its scripts throw fails the test."""
    context = await browser.new_context(base_url=url, **{"locale": "en-GB", **options})
    page, faults = await context.new_page(), []
    page.set_default_timeout(LIMIT_SECONDS * 1000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda each: faults.append(each.text) if "Content Security Policy" in each.text else None)
    try:
        yield page
    finally:
        await context.close()
    assert not faults, faults


async def sign_in(page: Page, email: str, back: str = "/editor") -> None:
    await page.goto(f"/editor/sign-in?back={back}")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"**{back}")
