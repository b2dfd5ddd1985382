"""The fast way to render says what Liquid says, and our way of writing amounts what Babel writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from babel.numbers import format_currency
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import RenderFailed
from gateway.templates import Catalog, Lender
from gateway.templates.language import formats
from gateway.templates.language.language import CompiledPart, PartScope, compile_part

TEMPLATES = Path(__file__).parents[2] / "templates"
_TYPES = {
    "amount": "money",
    "currency": "currency",
    "due": "date",
    "note": "text",
    "days": "integer",
    "url": "url",
    "borrower.name": "text",
}
_LOCALES = ("en-US", "en-GB", "zh-CN", "zh-TW", "de-DE", "hi-IN", "ar-EG", "fr-CH", "es-ES", "pl-PL")
_CURRENCIES = ("USD", "GBP", "CNY", "TWD", "EUR", "JPY", "INR", "CHF", "KWD")

_OUTPUTS = (
    "{{ amount | money: currency }}",
    "{{ amount | money: 'EUR' }}",
    "{{ amount | number }}",
    "{{ due | date }}",
    "{{ due | date: 'medium' }}",
    "{{ days | number }}",
    "{{ days | plural: 'day', 'days' }}",
    "{{ note }}",
    "{{ note | upcase | strip }}",
    "{{ note | default: 'none' }}",
    "{{ note | escape }}",
    "{{ note | size }}",
    "{{ borrower.name | capitalize }}",
    "{{ url }}",
    "{{ 'it' }}",
    "{{ 5 }}",
)
_CONDITIONS = ("note", "url", "note and url", "note or url", "days > 1", "note == 'x'", "amount")
_texts = st.text(alphabet="ab <>&'\"好é\n", max_size=12)
_leaves = st.one_of(_texts, st.sampled_from(_OUTPUTS), st.just("{% comment %}x{% endcomment %}"))


@st.composite
def _templates(draw: st.DrawFn, depth: int = 3) -> str:
    """A text with outputs, conditions and loops in each other."""
    kind = draw(st.integers(0, 5 if depth else 1))
    if kind <= 1:
        return "".join(draw(st.lists(_leaves, max_size=3)))
    one, other = draw(_templates(depth - 1)), draw(_templates(depth - 1))
    first, second = draw(st.sampled_from(_CONDITIONS)), draw(st.sampled_from(_CONDITIONS))
    return {
        2: f"{one}{{% if {first} %}}{one}{{% else %}}{other}{{% endif %}}",
        3: f"{{% if {first} %}}{one}{{% elsif {second} %}}{other}{{% endif %}}",
        4: f"{{% unless note %}}{one}{{% endunless %}}",
        5: f"{{% for i in (1..3) %}}{one}{{% endfor %}}",
    }[kind]


_values = st.fixed_dictionaries(
    {
        "amount": st.one_of(st.none(), st.decimals("-9999999", "999999999999", places=2)),
        "currency": st.sampled_from(_CURRENCIES),
        "due": st.one_of(st.none(), st.dates(date(2020, 1, 1), date(2035, 1, 1))),
        "note": st.one_of(st.none(), _texts),
        "days": st.integers(-2, 10_000),
        "url": st.one_of(st.none(), st.just("https://example.com/?a=1&b=2")),
        "borrower.name": _texts,
        "locale": st.sampled_from(_LOCALES),
    }
)


def _outcome(render: Any, values: Mapping[str, Any]) -> str:
    try:
        return f"text: {render(values)}"
    except RenderFailed as error:
        return f"error: {error}"


@given(text=_templates(), values=_values, html=st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_fast_way_says_what_liquid_says(text: str, values: dict[str, Any], html: bool) -> None:
    """For any template and any values, escaped or not: the same text, or the same error at the same place."""
    scope = PartScope(values["locale"], _TYPES | {"locale": "text"}, {}, {})
    wrapped = (
        f"<mjml><mj-body><mj-section><mj-column><mj-text>{text}</mj-text></mj-column></mj-section></mj-body></mjml>"
    )
    part = compile_part(wrapped if html else text, "t/en-US/x", scope, is_mail=html)
    if isinstance(part, CompiledPart):
        assert _outcome(part.render, values) == _outcome(part._render, values)
    else:
        assert html  # a text with a stray < is no mail


def test_what_ships_takes_the_fast_way() -> None:
    """The speed is had by what is really sent: no shipped part is left to Liquid."""
    catalog = Catalog.load(TEMPLATES, lender=Lender("L", "1", "https://l.example"))
    parts = [
        part
        for version in catalog.live()
        for locale in version.locales
        for channel in version.channels
        for _, part in version.parts(locale, channel)
    ]
    assert len(parts) == 8 * 4 * 6
    assert [part.where for part in parts if part._row is None] == []


@pytest.mark.parametrize("locale", _LOCALES)
@given(value=st.decimals("-99999999", "9999999999999", places=3), currency=st.sampled_from(_CURRENCIES))
@settings(max_examples=100, deadline=None)
def test_amounts_are_written_as_babel_writes_them(locale: str, value: Decimal, currency: str) -> None:
    """Grouping, signs, digits and rounding, in every locale, whether or not we write them ourselves."""
    expected = format_currency(value, currency, locale=formats.locale_of(locale))
    assert formats.money(value, currency, locale) == expected
