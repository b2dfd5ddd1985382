"""2,000 conversations of borrowers who have not been verified: what is sent says nothing of any debt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conversations.answers import AnswerBook, load_answers
from gateway.conversations.decide import MOST_ANSWERS, AssistantDecision, ReplySituation, decide
from gateway.conversations.slots import slots_of
from gateway.core.conversations import Turn, after_reply
from gateway.core.reasons import Intent
from gateway.core.understanding import Understanding
from gateway.replies.corpus import read_corpus
from gateway.templates.borrower_pages import read_borrower_pages
from gateway.templates.checks.word_lists import load_words, reveals_debt
from tests.support.rules.replies import POLICIES, shipped_interpreter
from tests.support.storage.ledgers import NOW
from tests.support.templates.template_services import started_again

ROOT = Path(__file__).parents[2]
HELP = read_borrower_pages(ROOT / "templates", ROOT / "templates", lambda _: False)
CATALOG = started_again()
WORDS = load_words(ROOT / "templates" / "_lint")
LOCALES = ("en-US", "en-GB", "zh-CN", "zh-TW")
CHANNELS = ("sms", "email", "inapp", "line", "whatsapp", "wechat")
NAME, AMOUNT, DAY = "Zyxwv Qrstu", "7654.32", "2026-12-05"
LINK, CODE, HOURS = "https://gateway.example.com/v/AbCdEfGh", "482915", "Mon to Fri"
# What stands in every message whoever it is for: the link and the code, how long they work, the telephone, and the time
# for UNDO.
ALLOWED = re.compile(rf"{re.escape(LINK)}|\b{CODE}\b|\+1 202 555 0100|https://example\.com/help|\b30\b|24")
HELPERS = "Helpers"  # in place of who helps free of charge, whose telephone has digits
LENDER = {"lender": "Example Bank", "phone": "+1 202 555 0100", "help_url": "https://example.com/help"}
_MONTHS = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b|[月日號号]|[$€£¥]|\bNT\b|TWD", re.IGNORECASE
)

TEXTS = [each.text for each in read_corpus(ROOT / "ops" / "replies" / "corpus")][::7]
ASKED_FOR = [
    "yes",
    "是",
    "👍",
    "undo",
    "撤回",
    "how much do I owe?",
    "我還欠多少",
    "下個月5號還三千五",
    "I'll pay $50 on Friday",
]


@cache
def _book() -> AnswerBook:
    return load_answers(POLICIES / "replies" / "answers", shipped_interpreter().safety.normalise)


@cache
def understood(text: str) -> Understanding:
    """Each text once: what is varied is the order."""
    return shipped_interpreter().understand(text, ("default", "cn"))


@cache
def sent(template: str, locale: str, channel: str, jurisdiction: str) -> str:
    """Everything of the message that a borrower can read, with values that must not stand in it."""
    version = CATALOG.resolve("acme", template, None, NOW)
    values = {
        "hours": HOURS,
        "link": LINK,
        "code": CODE,
        "minutes": 30,
        "days": 3,
        "amount": AMOUNT,
        "currency": "TWD",
        "day": DAY,
        "help": HELP.named_in_replies(jurisdiction),
    }
    given = {key: values[key] for key in version.variables if values[key]}
    content = version.render(channel, locale, given, NAME)
    return "\n".join((content.subject, content.text, content.html and content.text))


@dataclass(frozen=True)
class _Talk:
    """A conversation so far, without a ledger."""

    turn: Turn
    asked: str = ""


def talk(texts: list[str], locale: str, channel: str, jurisdiction: str) -> Iterator[AssistantDecision]:
    """What the assistant decides, reply by reply; the borrower opens no link."""
    now = _Talk(Turn())
    for text in texts:
        said = understood(text)
        turn = after_reply(now.turn, said, NOW)
        if turn.due_at is None:
            now = replace(now, turn=turn)
            continue
        slots = slots_of(text, date(2026, 11, 24), jurisdiction, _book().normalise.fold)
        situation = ReplySituation(
            said.intents, text, slots, now.asked, True, turn.answers, False, jurisdiction, channel
        )
        decision = decide(situation, _book())
        yield decision
        answers = turn.answers + bool(decision.template)
        assert answers <= MOST_ANSWERS
        handler = "person" if decision.person else turn.handler
        now = _Talk(replace(turn, answers=answers, handler=type(turn.handler)(handler), due_at=None), decision.asks)


@settings(max_examples=2000)
@given(
    st.lists(st.sampled_from([*TEXTS, *ASKED_FOR]), min_size=1, max_size=4),
    st.sampled_from(LOCALES),
    st.sampled_from(CHANNELS),
    st.sampled_from(["us", "uk", "cn", "tw", "hk", "in", "us-fl"]),
)
def test_nothing_of_a_debt_is_said_before_verification(
    texts: list[str], locale: str, channel: str, jurisdiction: str
) -> None:
    """No amount, no date, no name, no word for debt, nothing that follows but a plan's webhook; it says what it is."""
    for decision in talk(texts, locale, channel, jurisdiction):
        assert decision.asks == ""
        assert decision.follows in ("", "plan")
        if not decision.template:
            assert decision.person
            continue
        check(decision.template, locale, channel, jurisdiction)


@cache
def check(template: str, locale: str, channel: str, jurisdiction: str) -> None:
    """One message; the same one is looked at once."""
    words = sent(template, locale, channel, jurisdiction)
    if template == "reply-plan":
        assert HELP.named_in_replies(jurisdiction) in words
    check_words(words.replace(HELP.named_in_replies(jurisdiction) or "-", HELPERS), locale)


def check_words(words: str, locale: str) -> None:
    """It says that it is automatic, and nothing of a debt."""
    assert "automatic" in words or "自动" in words or "自動" in words
    said = ALLOWED.sub("", words)
    assert not re.search(r"\d", said), said
    assert not _MONTHS.search(said.replace("Mon to Fri", "")), said
    assert NAME not in said
    for language in ("en", "zh"):
        assert not WORDS[language].lock_screen.search(said), said


def test_what_is_read_back_is_sent_after_verification_alone() -> None:
    """Templates with an amount or a date are given by no answer that fits somebody who is not verified."""
    telling = {
        name
        for name in _book().templates
        if {each.type for each in CATALOG.resolve("acme", name, None, NOW).variables.values()} & {"money", "date"}
    }
    assert telling == {"reply-confirm-promise"}
    assert all(each.verified is True for each in _book().answers if each.template in telling)
    with pytest.raises(AssertionError):
        check("reply-confirm-promise", "en-US", "sms", "us")  # which the check would find


@pytest.mark.parametrize("jurisdiction", [*HELP.help, "hk", "fr"])
@pytest.mark.parametrize("locale", LOCALES)
def test_acknowledgements_say_nothing_of_a_debt_and_name_free_help(locale: str, jurisdiction: str) -> None:
    """What is answered to words that a safety rule finds, too; who can't pay hears who helps free of charge."""
    interpreter = replace(shipped_interpreter(), free_help=HELP.named_in_replies)
    for intent in Intent:
        said = interpreter.answer(intent, locale, jurisdiction, ()).format(**LENDER)
        helpers = HELP.named_in_replies(jurisdiction)
        if intent is Intent.HARDSHIP:
            assert (helpers in said) if helpers else ("independent" not in said)
        lines = interpreter.safety.help_lines.get(jurisdiction, "")
        if said and intent not in (Intent.STOP, Intent.HELP):
            check_words(said.replace(helpers or "-", HELPERS).replace(lines or "-", "-"), locale)


def test_what_is_named_of_helpers_has_no_word_for_debt() -> None:
    """By the lists of every language; only their telephone numbers have digits."""
    for country in HELP.help:
        assert not reveals_debt(WORDS, HELP.named_in_replies(country))
