"""Borrowers' replies by example: what each is taken for, and what is answered."""

from __future__ import annotations

import pytest

from gateway.model import Intent
from gateway.policy import load_words
from gateway.policy.replies import normal
from tests.gateways import PACKS, POLICIES

WORDS = load_words(POLICIES / "replies.toml")

SAID = [
    ("STOP", "us", Intent.STOP),
    (" stop. ", "us", Intent.STOP),
    ("Stop! 🛑", "us", Intent.STOP),
    ("ＳＴＯＰ", "us", Intent.STOP),
    ("Opt-Out", "us", Intent.STOP),
    ("Please stop texting me!!", "us", Intent.STOP),
    ("Don’t text me again", "us", Intent.STOP),
    ("leave me alone", "us", Intent.STOP),
    ("don't stop texting me", "us", Intent.MAYBE_STOP),
    ("can you make it stop somehow", "us", Intent.MAYBE_STOP),
    ("talk to my lawyer", "us", Intent.MAYBE_STOP),
    ("I was at the bus stop when you wrote", "us", Intent.MAYBE_STOP),
    ("I paid yesterday", "us", Intent.OTHER),
    ("unstoppable", "us", Intent.OTHER),
    ("", "us", Intent.OTHER),
    ("START", "us", Intent.START),
    ("unstop", "us", Intent.START),
    ("help", "us", Intent.HELP),
    ("Wrong number, sorry", "us", Intent.WRONG_PARTY),
    ("退订", "cn", Intent.STOP),
    ("退订。", "cn", Intent.STOP),
    ("你们不要再发短信了", "cn", Intent.STOP),
    ("TD", "cn", Intent.STOP),
    ("t", "cn", Intent.STOP),
    ("T", "us", Intent.OTHER),  # a single letter means stop only where campaigns ask for it
    ("N", "tw", Intent.OTHER),
    ("你们打错了", "cn", Intent.WRONG_PARTY),
    ("你们这是骚扰", "cn", Intent.MAYBE_STOP),
    ("我明天还款", "cn", Intent.OTHER),
    ("退訂", "tw", Intent.STOP),
    ("請不要再傳了", "tw", Intent.STOP),
    ("बंद करो", "us", Intent.STOP),
    ("Arrêt", "us", Intent.STOP),
    ("No más mensajes", "us", Intent.STOP),
]


@pytest.mark.parametrize(("text", "jurisdiction", "intent"), SAID)
def test_what_a_reply_is_taken_for(text: str, jurisdiction: str, intent: Intent) -> None:
    """Any wording of stop is one, or is read by a person; nothing else silences anybody."""
    assert WORDS.understand(text, PACKS[jurisdiction]) is intent


def test_only_the_pack_that_says_so_confirms_a_stop() -> None:
    """Regulation F's benchmark confirms once; elsewhere the stop is simply kept."""
    assert "{lender}" in WORDS.answer(Intent.STOP, "en-US", PACKS["us"])
    assert WORDS.answer(Intent.STOP, "zh-CN", PACKS["cn"]) == ""
    assert WORDS.answer(Intent.MAYBE_STOP, "en-US", PACKS["us"]) == ""


@pytest.mark.parametrize(
    ("locale", "word"), [("zh-TW", "協助"), ("zh-CN", "帮助"), ("en-GB", "help"), ("pt-BR", "help")]
)
def test_help_is_answered_in_the_borrowers_language(locale: str, word: str) -> None:
    """Help is answered in any language that we have, else in English."""
    assert word in WORDS.answer(Intent.HELP, locale, ())


def test_normal_keeps_letters_numbers_and_vowel_signs() -> None:
    """Width, case, punctuation and emoji don't matter; the letters of every script do."""
    assert normal("  Opt—OUT\n now!! 😡") == "opt out now"
    assert normal("बंद करो।") == "बंद करो"
