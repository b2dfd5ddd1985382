"""Hostile Markdown ends in a finding, or in a message, and never in a long wait."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.templates import Lender, TemplateVersion
from gateway.templates.folder import Folder
from gateway.templates.language.source import TemplateProblem
from tests.support.channel_profiles import PROFILES

SHIPPED = Folder.read(Path(__file__).parents[3] / "templates").sources()["overdue-first"]
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
# Seconds of processor time. Each of them takes some tens of milliseconds; what a bound is missing for takes minutes.
_LONGEST = 2.0
_REFUSED = {
    "script": ("<script>alert(1)</script>", "HTML is not read here"),
    "nested lists": ("".join(f"{'  ' * depth}- x\n" for depth in range(10_000))[:19_999], "nested more than"),
    "nested items": ("- " * 9_000 + "x", "nested more than"),
    "nested quotes": (">" * 10_000 + "x", "nested more than"),
    "many items": ("- - - - - - x\n" * 300, "more than 300 items"),
    "wide table": ("a|" * 200 + "\n" + "-|" * 200 + "\nx" * 300, "more than 12 columns"),
    "long table": ("a|b\n-|-\n" + "c|d\n" * 700, "more than 600 of '|'"),
    "long text": ("a" * 20_001, "longer than 20000"),
    "many lines": ("a\n" * 500, "more than 400 of line ends"),
    "open brackets": ("[" * 5_000, "more than 100 of '['"),
    "open links": ("[a](b" * 100, "the reader will see"),
    "open emphasis": ("**a *b " * 100, "the reader will see"),
    "open tags": ("{{ a " * 3_900, "more than 250 of '{{'"),
    "open comments": ("{% comment %}" * 1_500, "more than 250 of '{%'"),
    "escapes": ("\\<" * 9_000, "more than 300 of"),
    "disguised scheme": ("[pay](java&#115;cript:alert)", "a link must start with"),
    "data link": ("[pay](data:text/html,x)", "a link must start with"),
    "private use": ("a \ue0000\ue001", "private-use"),
}
_SHOWN = {
    "long word": "a" * 20_000,
    "brackets": "(" * 19_000,
    "paragraphs": "x\n\n" * 199,
    "quotes": "> > > > > x\n" * 60,
    "entities": "&amp;" * 3_999,
    "tags": "{{ borrower.name }} x\n\n" * 190,
}


def _problems(markdown: str) -> list[TemplateProblem]:
    parts = {"en-US/email.subject.liquid": "Hello", "en-US/email.md.liquid": markdown}
    found: list[TemplateProblem] = []
    begun = time.process_time()
    TemplateVersion(replace(SHIPPED, parts=parts), LENDER, PROFILES, found)
    assert time.process_time() - begun < _LONGEST
    return found


@pytest.mark.parametrize(("markdown", "says"), _REFUSED.values(), ids=_REFUSED)
def test_it_ends_in_a_finding(markdown: str, says: str) -> None:
    """Size, nesting and signs are counted before anything is parsed; the finding has its place."""
    [first, *_] = _problems(markdown)
    assert says in str(first.detail)
    assert first.line > 0


@pytest.mark.parametrize("markdown", _SHOWN.values(), ids=_SHOWN)
def test_it_ends_in_a_message(markdown: str) -> None:
    """What is only long and odd is a message."""
    assert _problems(markdown) == []
