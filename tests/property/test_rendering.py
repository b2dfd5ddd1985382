"""Rendering holds for any template of the language and any values: a text within its limits, or RenderFailed."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import RenderFailed
from gateway.templates.language.language import CompiledPart, PartScope, compile_part

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
    "{{ amount | money: currency, 'whole' }}",
    "{{ amount | number }}",
    "{{ due | date }}",
    "{{ due | date: 'medium' }}",
    "{{ due | date: 'day' }}",
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


@given(text=_templates(), values=_values, html=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_template_renders_or_says_where_it_cannot(text: str, values: dict[str, Any], html: bool) -> None:
    """A text without leftover tags, the same each time; or RenderFailed with file, line and column. Nothing else."""
    scope = PartScope(values["locale"], _TYPES | {"locale": "text"}, {}, {})
    wrapped = (
        f"<mjml><mj-body><mj-section><mj-column><mj-text>{text}</mj-text></mj-column></mj-section></mj-body></mjml>"
    )
    part = compile_part(wrapped if html else text, "t/en-US/x", scope, is_mail=html)
    if not isinstance(part, CompiledPart):
        assert html  # a text with a stray < is no mail
        return
    rendered, problem = _outcome(part, values)
    assert (rendered, problem) == _outcome(part, values)
    assert not re.search(r"{[{%]", rendered)
    assert not problem or re.match(r"t/en-US/x:\d+:\d+: ", problem)


def _outcome(part: CompiledPart, values: dict[str, Any]) -> tuple[str, str]:
    """The text and what is wrong, one of them empty."""
    try:
        return part.render(values), ""
    except RenderFailed as error:
        return "", str(error)
