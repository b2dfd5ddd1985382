"""Hostile Markdown ends in a finding, or in a message, and never in a long wait."""

from __future__ import annotations

import cProfile
import pstats
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.templates import Lender, TemplateVersion
from gateway.templates.folder import Folder
from gateway.templates.language.composed import compose
from gateway.templates.language.source import TemplateProblem
from tests.support.providers.channel_profiles import PROFILES

SHIPPED = Folder.read(Path(__file__).parents[3] / "templates").sources()["overdue-first"]
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
# Calls of functions, which are the same on every machine; at most 40,000 and 220,000 when this was written. Without
# the counting, the slowest finding took 26 ms then, and the slowest message 91 ms.
_MOST_CALLS, _MOST_CALLS_OF_A_MESSAGE = 200_000, 400_000
_REFUSED = {
    "script": ("<script>alert(1)</script>", "HTML is not read here"),
    "nested lists": ("".join(f"{'  ' * depth}- x\n" for depth in range(10_000))[:19_999], "nested more than"),
    "nested items": ("- " * 9_000 + "x", "nested more than"),
    "nested quotes": (">" * 10_000 + "x", "nested more than"),
    "many items": ("- - - - - - x\n" * 300, "more than 300 items"),
    "wide table": ("a|" * 200 + "\n" + "-|" * 200 + "\nx" * 300, "more than 12 columns"),
    "long table": ("a|b\n-|-\n" + "c|d\n" * 700, "more than 400 of '|'"),
    "many cells": ("|" + "a|" * 12 + "\n|" + "-|" * 12 + "\n" + "|c\n" * 370, "more than 300 cells"),
    "entities": ("&amp;" * 3_999, "more than 300 of '&'"),
    "addresses": ("<https://a.example> " * 900, "more than 100 of '<'"),
    "shared texts": ("{% render 'help' %}\n\n" * 199, "more than 40 shared texts"),
    "nested conditions": ("{% if pay_url %}" * 120 + "x" + "{% endif %}" * 120, "nested more than 10 deep"),
    "nested emphasis": ("*a **b " * 60 + "** c*" * 60, "the reader will see"),
    "long text": ("a" * 20_001, "longer than 20000"),
    "many lines": ("a\n" * 500, "more than 400 of line ends"),
    "open brackets": ("[" * 5_000, "more than 100 of '['"),
    "open links": ("[a](b" * 100, "the reader will see"),
    "open emphasis": ("**a *b " * 100, "the reader will see"),
    "open tags": ("{{ a " * 3_900, "more than 250 of '{{'"),
    "open comments": ("{% comment %}" * 1_500, "more than 250 of '{%'"),
    "escapes": ("\\!" * 9_000, "more than 300 of"),
    "disguised scheme": ("[pay](java&#115;cript:alert)", "a link must start with"),
    "data link": ("[pay](data:text/html,x)", "a link must start with"),
    "private use": ("a \ue0000\ue001", "private-use"),
}
_SHOWN = {
    "long word": "a" * 20_000,
    "brackets": "(" * 19_000,
    "paragraphs": "x\n\n" * 199,
    "quotes": "> > > > > x\n" * 60,
    "items": ("- " + "x " * 30 + "\n") * 299,
    "conditions": "{% if pay_url %}x{% endif %}\n\n" * 120,
    "links": "[a](https://x.example) " * 99,
    "headings": "# a\n\n" * 199,
    "breaks": "x\n" * 399,
    "tags": "{{ borrower.name }} x\n\n" * 190,
}


def _problems(markdown: str, most_calls: int) -> list[TemplateProblem]:
    parts = {"en-US/email.subject.liquid": "Hello", "en-US/email.md.liquid": markdown}
    found: list[TemplateProblem] = []
    source, counting = replace(SHIPPED, parts=parts), cProfile.Profile()
    counting.enable()
    TemplateVersion(source, LENDER, PROFILES, found)
    counting.disable()
    assert pstats.Stats(counting).total_calls <= most_calls  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(("markdown", "says"), _REFUSED.values(), ids=_REFUSED)
def test_it_ends_in_a_finding(markdown: str, says: str) -> None:
    """Size, nesting and signs are counted before anything is parsed; the finding has its place."""
    [first, *_] = _problems(markdown, _MOST_CALLS)
    assert says in str(first.detail)
    assert first.line > 0


@pytest.mark.parametrize("markdown", _SHOWN.values(), ids=_SHOWN)
def test_it_ends_in_a_message(markdown: str) -> None:
    """What is only long and odd is a message."""
    assert _problems(markdown, _MOST_CALLS_OF_A_MESSAGE) == []


def test_a_text_is_laid_out_once_for_all_countries() -> None:
    """The countries' shared texts are filled in afterwards, so that their number does not multiply the work."""
    compose.cache_clear()
    _problems("Hello {{ borrower.name }}", _MOST_CALLS)
    assert compose.cache_info().misses == 1
