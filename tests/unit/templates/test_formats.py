"""Amounts and dates in the styles that writers choose, as each language writes them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from channels.content import Content
from gateway.core.errors import RenderFailed
from gateway.templates.language.formats import day, money
from gateway.templates.language.language import CompiledPart, PartScope, compile_part
from gateway.templates.language.variables import VariableSpec
from gateway.templates.rendering.reading import sent_amounts


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "shown"),
    [
        ("3913.00", "TWD", "en-US", "NT$3,913"),
        ("3913", "TWD", "zh-TW", "$3,913"),
        ("3913.50", "TWD", "en-US", "NT$3,913.50"),
        ("3913.00", "EUR", "de-DE", "3.913\xa0€"),
        ("3913.00", "JPY", "en-US", "¥3,913"),
        ("-12.000", "KWD", "en-US", "-KWD12"),
    ],
)
def test_a_whole_amount_has_no_cents_and_no_other_loses_them(
    amount: str, currency: str, locale: str, shown: str
) -> None:
    """Never rounded: who owes 3,913.50 must not read 3,913."""
    assert money(Decimal(amount), currency, locale, "whole") == shown


@pytest.mark.parametrize(
    ("locale", "shown"),
    [("en-US", "November 1"), ("en-GB", "1 November"), ("zh-CN", "11月1日"), ("fr-CA", "1 novembre")],
)
def test_a_day_has_no_year(locale: str, shown: str) -> None:
    """In the order of the language."""
    assert day(date(2026, 11, 1), "day", locale) == shown


def test_the_preview_names_each_amount_as_it_stands_in_the_message() -> None:
    """ "$3,913" alone, or beside "$3,913.00"; what is a part of another number is no amount."""
    specs = {
        "amount": VariableSpec("amount", "money", True, "3913.00", "what is due"),
        "fee": VariableSpec("fee", "money", True, "13.00", "for the delay"),
        "currency": VariableSpec("currency", "currency", True, "USD", "of both"),
    }
    given = {"amount": "3913.00", "fee": "13.00", "currency": "USD"}

    def shown(words: str) -> tuple[str, ...]:
        return sent_amounts(Content(words), specs, given, "en-US")

    assert shown("Your payment of $3,913 is due.") == ("$3,913",)
    assert shown("You owe $3,913.00.") == ("$3,913.00",)
    assert shown("$3,913.00 (about $3,913), and $13,000 elsewhere") == ("$3,913.00", "$3,913")


def test_an_unknown_style_is_refused_with_those_that_exist() -> None:
    """By a finding of the preview, never by a message."""
    types = {"amount": "money", "currency": "currency"}
    made = compile_part(
        "{{ amount | money: currency, 'round' }}", "t/en-US/x", PartScope("en-US", types, {}, {}), is_mail=False
    )
    assert isinstance(made, CompiledPart)
    with pytest.raises(RenderFailed, match="one of exact, whole"):
        made.render({"amount": Decimal(1), "currency": "TWD", "locale": "en-US"})
