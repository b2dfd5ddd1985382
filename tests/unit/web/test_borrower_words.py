"""The words of borrowers' own pages, and the lender's file about them."""

from __future__ import annotations

import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.templates.borrower_pages import read_borrower_pages
from gateway.templates.checks.word_lists import load_words, reveals_debt
from gateway.web.borrowers.words import READ_IN, accepted_language, page_language

ROOT = Path(__file__).parents[3]
TEXTS = {
    each: tomllib.loads((ROOT / f"gateway/web/borrowers/texts/{each}.toml").read_text("utf-8")) for each in READ_IN
}


def test_every_language_has_every_text_with_the_same_places() -> None:
    """A missing text or value would be an error on a borrower's page."""

    def shape(texts: dict[str, Any]) -> dict[str, object]:
        return {
            key: sorted(re.findall(r"\{\w+\}", text)) if isinstance(text, str) else sorted(text)
            for key, text in texts.items()
        }

    english = shape(TEXTS["en"])
    for language, texts in TEXTS.items():
        assert shape(texts) == english, language


def test_a_reader_gets_their_language_or_english() -> None:
    """By the locale of the message, and for a stranger by what their browser says."""
    assert [page_language(each) for each in ("zh-HK", "zh-CN", "fr-FR", "en-US", "")] == [
        "zh-Hant",
        "zh-Hans",
        "en",
        "en",
        "en",
    ]
    assert accepted_language("fr, zh-TW;q=0.9, en;q=0.1") == "zh-Hant"
    assert accepted_language("") == "en"


def test_the_shipped_file_names_its_sources_in_every_language(tmp_path: Path) -> None:
    """Every helper says what they do in each language of the pages, and where the address was taken from."""
    found = read_borrower_pages(tmp_path, ROOT / "templates", REVEALS_DEBT)
    assert {"us", "uk", "tw", "cn", "in"} <= set(found.help)
    for helpers in found.help.values():
        for each in helpers:
            assert set(each.what) == set(READ_IN), each.name
            assert each.url.scheme == "https"
    assert [each.name for each in found.helpers("us-fl")] == [each.name for each in found.help["us"]]
    assert found.helpers("gb") == found.help["uk"]
    assert found.helpers("fr") == ()
    assert found.named_in_replies("fr") == ""
    assert found.named_in_replies("gb") == "MoneyHelper 0800 138 7777"
    assert all(found.named_in_replies(each) for each in found.help)


REVEALS_DEBT = partial(reveals_debt, load_words(ROOT / "templates" / "_lint"))
_HELPER = '[[help.uk]]\nname = "A"\nsource = "c"\nseen = "secondary"\n'


@pytest.mark.parametrize(
    "wrong",
    [
        "help = 3",
        "[preferences]\nfixed = []",
        f'{_HELPER}url = "javascript:x"\nwhat.en = "b"',
        f'{_HELPER}url = "https://a.example"\nwhat.fr = "b"',
        f'{_HELPER}url = "https://a.example"\nwhat.en = "b"\nin_replies = "Debtline: debts are settled"',
        f'{_HELPER}url = "https://a.example"\nwhat.en = "b"\nin_replies = "A {{phone}}"',
        "not TOML",
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, wrong: str) -> None:
    """A lender's own file is read at the start, and a mistake in it is found then."""
    (tmp_path / "borrower_pages.toml").write_text(wrong, "utf-8")
    with pytest.raises(ValueError, match="borrower_pages"):
        read_borrower_pages(tmp_path, ROOT / "templates", REVEALS_DEBT)
