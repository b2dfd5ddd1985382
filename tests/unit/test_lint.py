"""What the lint says of templates: the shipped ones are clean, and each fault is found at its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.catalog import Lender
from gateway.catalog.lint import Finding, contrast, lint, load_words
from gateway.catalog.source import read_folder
from gateway.catalog.version import TemplateVersion
from gateway.cli import app

TEMPLATES = Path(__file__).parents[2] / "templates"
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
WORDS = load_words(TEMPLATES / "_lint")
SOURCES = read_folder(TEMPLATES)


def _lint(part: str, text: str, *, refuses: str = "", locale: str = "en-US") -> list[Finding]:
    """The findings about ``overdue-first`` with one part replaced."""
    source = SOURCES["overdue-first"]
    changed = replace(source, parts={**source.parts, f"{locale}/{part}": text})
    found = lint(TemplateVersion(changed, LENDER), WORDS, LENDER.name, lambda *_: refuses)
    return [each for each in found if each.where.startswith(f"overdue-first/{locale}")]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_what_ships_is_clean(name: str) -> None:
    """No shipped template has an error or a warning, in any locale."""
    version = TemplateVersion(SOURCES[name], LENDER)
    assert lint(version, WORDS, LENDER.name, lambda *_: "") == []


def test_the_command_asks_the_policy_too() -> None:
    """``gateway template lint`` finds nothing in what ships, under the packs of each locale's country."""
    done = CliRunner().invoke(app, ["template", "lint"])
    assert (done.exit_code, "0 errors" in done.output) == (0, True)


SMS = "{{ lender.name }}: pay {{ amount | money: currency }}. Reply STOP. "


@pytest.mark.parametrize(
    ("part", "text", "rule", "level"),
    [
        ("sms.liquid", SMS + "The police will call.", "threat", "error"),
        ("sms.liquid", SMS + "We filed a lawsuit.", "legal", "error"),
        ("sms.liquid", SMS + "You should be ashamed.", "shame", "error"),
        ("sms.liquid", SMS + "Pay immediately.", "pressure", "warning"),
        ("sms.liquid", "Pay {{ amount | money: currency }}.", "no_identity", "error"),
        ("sms.liquid", SMS + "http://example.com/pay", "plain_link", "error"),
        ("sms.liquid", SMS + "https://bit.ly/x", "short_link", "error"),
        ("sms.liquid", SMS + "x" * 460, "long", "warning"),
        ("sms.liquid", SMS + "It’s due.", "dear_character", "warning"),
        ("sms.liquid", SMS + "{amount}", "leftover_braces", "error"),
        ("email.subject.liquid", "Your overdue payment", "lock_screen", "error"),
        ("inapp.title.liquid", "You owe money", "lock_screen", "error"),
        ("email.subject.liquid", "A note " + "about your account " * 5, "long_subject", "warning"),
        ("email.html.liquid", "<p>x</p><img src='https://example.com/a.png'>", "no_alt_text", "error"),
        ("email.html.liquid", "<style>p { color: #999999; background: #ffffff }</style>", "contrast", "error"),
    ],
)
def test_each_fault_is_found(part: str, text: str, rule: str, level: str) -> None:
    """One finding of the right kind and level, in the right part, with a remedy."""
    found = [each for each in _lint(part, text) if each.rule == rule]
    assert [(each.level, bool(each.remedy)) for each in found] == [(level, True)]
    assert rule == "no_identity" or found[0].where.endswith(part)


def test_a_finding_has_its_line() -> None:
    """The editor is led to the line on which the word stands."""
    [found] = [each for each in _lint("sms.liquid", SMS + "\nSecond line.\nThe police.") if each.rule == "threat"]
    assert found.line == 3


def test_harmless_words_that_contain_harmful_ones_are_left_alone() -> None:
    """Whole words only: who arrives is not arrested, and Debtford is a place."""
    assert [each.rule for each in _lint("sms.liquid", SMS + "Policemen's Ball in Prisonville, urgently.")] == []


def test_chinese_words_are_found_without_spaces() -> None:
    """Scripts without spaces are searched anywhere."""
    text = "{{ lender.name }}：我們將起訴並上門。"
    rules = sorted(each.rule for each in _lint("sms.liquid", text, locale="zh-TW"))
    assert rules == ["legal", "threat"]


def test_what_the_policy_refuses_is_an_error() -> None:
    """A text that would be suppressed when it is sent can't be published."""
    found = _lint("sms.liquid", SMS, refuses="opt_out_text_missing")
    assert {each.rule for each in found if each.level == "error"} == {"opt_out_text_missing"}


def test_contrast_as_wcag_counts_it() -> None:
    """Black on white is 21, a colour on itself 1, and #767676 on white just passes."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#123456", "#123456") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_a_broken_word_list_is_named(tmp_path: Path) -> None:
    """Whoever edits the lists is told which file is wrong, and what is missing."""
    (tmp_path / "xx.toml").write_text('languages = ["xx"]\n')
    with pytest.raises(ValueError, match=r"xx\.toml.*words"):
        load_words(tmp_path)
