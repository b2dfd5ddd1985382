"""A page as people see it: axe and the page's width in four looks, with pictures where they are wanted."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, ViewportSize

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# A scheme changes colours alone; all other rules judge the structure of the page, which the light look shows.
_RULES = {"light": WCAG, "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES: dict[str, ViewportSize] = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


async def look(page: Page, name: str) -> None:
    """On a desktop and a phone, light and dark, axe finds nothing against A and AA; nothing scrolls sideways.

    With GATEWAY_TEST_SCREENSHOTS=FOLDER, the pictures are left there to be looked at.
    """
    for (size, viewport), scheme in product(SIZES.items(), SCHEMES):
        kind = f"{size}-{scheme}"
        await page.set_viewport_size(viewport)
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colours half way to others
        folder = os.environ.get("GATEWAY_TEST_SCREENSHOTS")
        if folder:
            # Hiding the caret would put a style into the page, which its policy blocks.
            await page.screenshot(path=Path(folder) / f"{name}-{kind}.png", full_page=True, caret="initial")
        wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{name}, {kind} scrolls sideways"
        faults = await violations(page, _RULES[scheme])
        assert not faults, f"{name}, {kind}: {faults}"


async def violations(page: Page, rules: object = tuple(WCAG)) -> list[tuple[str, list[str]]]:
    """What axe finds against ``rules`` (its ``runOnly``): the ids of rules, each with the elements that break it."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    options = {"runOnly": rules, "iframes": False, "resultTypes": ["violations"]}
    found = await page.evaluate(f"axe.run({json.dumps(options)}).then(found => found.violations)")
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
