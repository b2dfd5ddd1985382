"""Written languages of locales, a request in another language, and the reference that messages name a case by."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from gateway.core.languages import in_language, written_language
from gateway.core.notifications import Case
from tests.support.storage.ledgers import draft


@pytest.mark.parametrize(
    ("locale", "written"),
    [("zh-TW", "zh-Hant"), ("zh_HK", "zh-Hant"), ("zh-Hant-CN", "zh-Hant"), ("zh-CN", "zh-Hans"), ("zh", "zh-Hans")]
    + [("en-GB", "en"), ("EN", "en"), ("", "")],
)
def test_chinese_is_two_written_languages(locale: str, written: str) -> None:
    """By script, or by where it is read."""
    assert written_language(locale) == written


def test_a_chosen_language_takes_the_borrowers_country_with_it() -> None:
    """English for a borrower in the UK is British; a locale that is in the language already stays as it is."""
    made = draft("k1").notification
    assert in_language(made, "en").borrower.locale == "en-TW"
    british = replace(made, borrower=replace(made.borrower, jurisdiction="uk"))
    assert in_language(british, "en").borrower.locale == "en-GB"
    assert in_language(made, "zh-Hans").borrower.locale == "zh-Hans"
    assert in_language(made, "zh-Hant") is made
    assert in_language(made, "") is made


@pytest.mark.parametrize(
    ("case_id", "reference"),
    [("C-77", "C-77"), ("2026-0123", "**0123"), ("4111 1111 1111 1111", "**1111"), ("DE89370400440532013000", "**3000")]
    + [("LOAN-1234567", "LOAN-1234567")],
)
def test_a_reference_is_no_account_number(case_id: str, reference: str) -> None:
    """Eight digits in a row, however they are grouped, may be one: the last four characters are shown."""
    assert Case(case_id, "card", date(2026, 11, 1), "first").reference == reference
