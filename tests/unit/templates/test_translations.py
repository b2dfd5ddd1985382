"""Translations: what is missing or older than the default locale; and a lender's own words for its terms."""

from __future__ import annotations

import pytest

from gateway.templates.checks.glossary import GlossaryTerm, glossary_findings
from gateway.templates.workflow.translations import TranslationState, translated_parts

SETTINGS = {"template.toml": 'default_locale = "en-US"\n'}
FIRST = {**SETTINGS, "en-US/sms.liquid": "pay", "zh-TW/sms.liquid": "請繳款", "en-US/email.md.liquid": "Pay"}


@pytest.mark.parametrize(
    ("files", "earlier", "state", "translated"),
    [
        (FIRST, [], "current", ""),
        (FIRST, [FIRST, FIRST], "current", ""),
        ({**FIRST, "en-US/sms.liquid": "please pay"}, [FIRST], "older", "pay"),
        ({**FIRST, "zh-TW/sms.liquid": "請"}, [{**FIRST, "en-US/sms.liquid": "old"}], "current", ""),
        (
            {**FIRST, "en-US/sms.liquid": "now"},
            [{**FIRST, "en-US/sms.liquid": "then"}, {**FIRST, "en-US/sms.liquid": "first", "zh-TW/sms.liquid": "請"}],
            "older",
            "then",
        ),
        ({**FIRST, "zh-TW/sms.liquid": "新"}, [{**FIRST, "en-US/sms.liquid": "old"}, FIRST], "current", ""),
        (FIRST, [{name: text for name, text in FIRST.items() if "TW" not in name}], "current", ""),
    ],
)
def test_a_translation_is_as_old_as_its_last_change(
    files: dict[str, str], earlier: list[dict[str, str]], state: str, translated: str
) -> None:
    """Older only where the default locale changed after it; then what it was translated from is known."""
    found = {each.file: each for each in translated_parts(files, "en-US", "zh-TW", earlier)}
    assert (found["sms.liquid"].state, found["sms.liquid"].translated) == (state, translated)
    assert found["email.md.liquid"].state is TranslationState.MISSING
    assert found["email.md.liquid"].default_text == "Pay"


PLAN = GlossaryTerm(
    "plan",
    {"en": "payment plan", "zh-TW": "分期還款"},
    {"en": ["plan", "instalment agreement"], "zh-TW": ["分期付款"]},
)


def _found(**texts: str) -> list[tuple[str, str, int, int, str]]:
    files = {**SETTINGS, **{f"{locale.replace('_', '-')}/sms.liquid": text for locale, text in texts.items()}}
    findings = glossary_findings("due", files, "en-US", [PLAN])
    return [(each.rule, each.where, each.line, each.column, each.instead) for each in findings]


def test_a_word_to_avoid_is_found_where_it_stands_and_can_be_replaced() -> None:
    """In each language by its own words; the right word, a tag and part of another word are none."""
    here = "due/en-US/sms.liquid"
    assert _found(en_US="A payment plan, planned {{ plan }} by us.\n{% if plan %}Your Plan{% endif %}") == [
        ("glossary_avoid", here, 2, 19, "payment plan")
    ]
    assert _found(zh_TW="請分期付款") == [("glossary_avoid", "due/zh-TW/sms.liquid", 1, 2, "分期還款")]
    assert _found(zh_CN="请分期付款", en_GB="a payment plan") == []


def test_a_translation_has_the_word_that_the_default_text_has() -> None:
    """Where both languages have a word; in any case of its letters, and only where the default text says it."""
    lacking = [("glossary_term", "due/zh-TW/sms.liquid", 0, 0, "")]
    assert _found(en_US="Your Payment Plan", zh_TW="您的約定") == lacking
    assert _found(en_US="Your payment plan", zh_TW="您的分期還款") == []
    assert _found(en_US="Thank you", zh_TW="您的約定") == []
    assert _found(en_US="Your payment plan", zh_CN="您的约定") == []
