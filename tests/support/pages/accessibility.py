"""A page as people see it: axe and the page's width in four looks, with pictures where they are wanted."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, ViewportSize

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_COLOURS = ["color-contrast", "link-in-text-block"]  # the rules that judge colours; most of axe's time
_STRUCTURE = {"runOnly": WCAG, "rules": {each: {"enabled": False} for each in _COLOURS}}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES: dict[str, ViewportSize] = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}

# The shown elements whose words have not been judged yet in these colours, and are now: the colour and size of their
# letters, and what each element around them paints. What a phone shows as a desktop does has the same contrast there.
_UNJUDGED = """() => {
    const judged = window.judgedColours ??= new WeakMap(), grounds = new Map();
    const ground = element => {
        if (!element) return "";
        if (!grounds.has(element)) {
            const { backgroundColor, backgroundImage, opacity, filter, mixBlendMode } = getComputedStyle(element);
            const own = [backgroundColor, backgroundImage, opacity, filter, mixBlendMode];
            grounds.set(element, `${own};${ground(element.parentElement)}`);
        }
        return grounds.get(element);
    };
    const hasWords = element => element.matches("input, select, textarea")
        || [...element.childNodes].some(each => each.nodeType === Node.TEXT_NODE && each.data.trim());
    return [...document.body.querySelectorAll("*")].filter(element => {
        if (!element.checkVisibility() || !hasWords(element)) return false;
        const { color, fontSize, fontWeight, textShadow } = getComputedStyle(element);
        const colours = `${[color, fontSize, fontWeight, textShadow]};${ground(element)}`;
        if (!judged.has(element)) judged.set(element, new Set());
        const known = judged.get(element).has(colours);
        judged.get(element).add(colours);
        return !known;
    });
}"""


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
        # A scheme changes colours alone; all other rules judge the structure of the page, which the light look shows.
        faults = await _found(page, "document", _STRUCTURE) if scheme == "light" else []
        faults += await _found(page, f"({_UNJUDGED})()", {"runOnly": {"type": "rule", "values": _COLOURS}})
        assert not faults, f"{name}, {kind}: {faults}"


async def violations(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds against A and AA: the ids of rules, each with the elements that break it."""
    return await _found(page, "document", {"runOnly": WCAG})


async def _found(page: Page, where: str, options: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """``where``: an expression of the place or the places that are judged. ``options``: axe's."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    options = {**options, "iframes": False, "resultTypes": ["violations"]}
    found = await page.evaluate(
        f"""() => {{
            const where = {where};
            if (where.length === 0) return [];
            return axe.run(where, {json.dumps(options)}).then(found => found.violations);
        }}"""
    )
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
