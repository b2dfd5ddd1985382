"""Addresses in a text become links, and nothing else does."""

from __future__ import annotations

import pytest

from gateway.templates.rendering.bare_links import with_links
from gateway.web.borrowers.words import clickable


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("See https://a.example/x?y=1&amp;z=2.", "https://a.example/x?y=1&amp;z=2"),
        ("MoneyHelper (https://a.example).", "https://a.example"),
        ("協助：https://a.example/幫助。謝謝", "https://a.example/幫助"),
        ("(https://a.example/b_(c))", "https://a.example/b_(c)"),
    ],
)
def test_an_address_ends_where_the_sentence_goes_on(text: str, linked: str) -> None:
    """Punctuation of the sentence, Chinese or not, is no part of it."""
    assert f'<a href="{linked}">{linked}</a>' in with_links(f"<p>{text}</p>")


def test_what_is_a_link_or_no_text_stays_as_it_is() -> None:
    """Links, attributes, styles and comments are not touched."""
    page = (
        '<head><title>https://t.example</title></head><style>@import "https://s.example"</style>'
        "<!-- https://c.example -->"
        '<a href="https://a.example">https://a.example</a><img src="https://i.example">'
    )
    assert with_links(page) == page


def test_what_others_wrote_is_no_link_of_the_lenders() -> None:
    """An address in a borrower's name or in a text variable stays words."""
    said = "Dear https://evil.example/a&amp;b, see https://a.example"
    assert with_links(said, ["https://evil.example/a&b"]).count("<a ") == 1


def test_a_page_shows_a_message_escaped() -> None:
    """With its addresses clickable, and without a referrer."""
    shown = str(clickable("<b>hi</b> https://a.example/?a=1&b=2."))
    assert shown.startswith('&lt;b&gt;hi&lt;/b&gt; <a href="https://a.example/?a=1&amp;b=2"')
    assert shown.endswith("</a>.")
