"""The safety rules by example: what is found however it is written, and what is not."""

from __future__ import annotations

import pytest

from gateway.core.reasons import SAFETY, HoldKind, Intent
from gateway.core.understanding import Urgency
from tests.support.replies import INTERPRETER

FOUND = [
    ("再打电话我就跳楼", Intent.DANGER),
    ("再打電話我就跳樓", Intent.DANGER),
    ("自🙏杀", Intent.DANGER),
    ("自 殺", Intent.DANGER),
    ("唔想做人", Intent.DANGER),
    ("I'll jump if you ring again", Intent.DANGER),
    ("i wanna kil myself", Intent.DANGER),
    ("ＫＩＬＬ ｍｙｓｅｌｆ", Intent.DANGER),
    ("sucide", Intent.DANGER),
    ("我想 die, want to die", Intent.DANGER),
    ("Quiero morirme", Intent.DANGER),
    ("Ich will nicht mehr leben", Intent.DANGER),
    ("मैं आत्महत्या कर लूंगा", Intent.DANGER),
    ("他上个月去世了", Intent.DECEASED),
    ("佢過咗身", Intent.DECEASED),
    ("He passed away in May", Intent.DECEASED),
    ("人在看守所", Intent.DETAINED),
    ("he is in prison", Intent.DETAINED),
    ("我们也联系不上他", Intent.MISSING),
    ("my husband has cancer", Intent.ILLNESS),
    ("我爸住院了", Intent.ILLNESS),
    ("I was never your customer, this is identity theft", Intent.FRAUD),
    ("身分證被冒用", Intent.FRAUD),
    ("I don't owe you anything", Intent.DISPUTE),
    ("我没有借过你们的钱", Intent.DISPUTE),
    ("never heard of him", Intent.WRONG_PARTY),
    ("我不认识这个人", Intent.WRONG_PARTY),
    ("唔識佢", Intent.WRONG_PARTY),
    ("I'm his mother", Intent.THIRD_PARTY),
    ("他已经离职了", Intent.THIRD_PARTY),
    ("I shall complain to the ombudsman", Intent.COMPLAINT),
    ("我要打12378", Intent.COMPLAINT),
    ("talk to my lawyer", Intent.ATTORNEY),
    ("I lost my job", Intent.HARDSHIP),
    ("我沒錢還", Intent.HARDSHIP),
    ("冇錢", Intent.HARDSHIP),
    ("let me speak to a real person", Intent.WANTS_PERSON),
    ("转人工", Intent.WANTS_PERSON),
    ("STOP", Intent.STOP),
]

NOT_FOUND = [
    "什么时候还款",
    "可以分期嗎",
    "我明天还",
    "笑死我了，已经还了",
    "手机没电了",
    "I paid, the deadline was Friday",
    "how do I pay",
    "my phone died, paying now",
    "Thank you very much",
    "I'll pay on the 5th",
    "pagaré el viernes",
]


@pytest.mark.parametrize(("text", "intent"), FOUND)
def test_what_a_person_must_read_is_found(text: str, intent: Intent) -> None:
    """In traditional and simplified characters, full width, misspelt, spaced out, among emoji, in mixed scripts."""
    said = INTERPRETER.understand(text, ("default",))
    assert intent in said.intents
    assert said.intent in SAFETY


@pytest.mark.parametrize("text", NOT_FOUND)
def test_harmless_words_set_no_hold(text: str) -> None:
    """Idioms, dead batteries and deadlines are no safety rule's."""
    said = INTERPRETER.understand(text, ("default",))
    assert (said.intent in SAFETY, said.holds) == (False, ())


@pytest.mark.parametrize("text", ["I am not going to complain", "请问“破产”是什么意思", "he is not dead"])
def test_what_is_only_mentioned_is_read_by_a_person_and_holds_nothing(text: str) -> None:
    """A negation or a quotation is no statement; but a rule that is unsure doesn't let a machine answer."""
    said = INTERPRETER.understand(text, ("default",))
    assert (said.intent, said.urgency, said.holds) == (Intent.OTHER, Urgency.ROUTINE, ())


@pytest.mark.parametrize(
    ("text", "intent", "urgency"),
    [
        ("I paid it last week", Intent.PAID, Urgency.ROUTINE),
        ("我已经还了", Intent.PAID, Urgency.ROUTINE),
        ("thank you", Intent.THANKS, Urgency.NONE),
    ],
)
def test_what_is_recognised_and_not_answered_is_read_by_a_person(text: str, intent: Intent, urgency: Urgency) -> None:
    """A routine review with a clock; thanks need none."""
    said = INTERPRETER.understand(text, ("default",))
    assert (said.intent, said.urgency, said.holds) == (intent, urgency, ())
    assert bool(said.review_within) is (urgency is Urgency.ROUTINE)


def test_only_thanks_stops_and_what_is_answered_wait_for_nobody() -> None:
    """Every other intent has an urgency and a clock."""
    follows = INTERPRETER.safety.consequences
    unread = {each for each in Intent if each not in follows or follows[each].urgency is Urgency.NONE}
    assert unread == {Intent.THANKS, Intent.STOP, Intent.START, Intent.HELP}
    assert all(each.review_within for intent, each in follows.items() if intent not in unread)


@pytest.mark.parametrize("text", ["I'm not going to kill myself yet", "他说“不想活了”"])
def test_danger_holds_in_negations_and_quotations(text: str) -> None:
    """A false alarm costs a call."""
    said = INTERPRETER.understand(text, ("default",))
    assert (said.intent, said.urgency, said.holds) == (Intent.DANGER, Urgency.NOW, (HoldKind.VULNERABLE,))


def test_everything_that_a_reply_says_has_its_consequence() -> None:
    """The first intent names the reply; the holds of all of them are set, and the shortest clock counts."""
    said = INTERPRETER.understand("Stop texting me. I lost my job, my lawyer will call, I want to die", ("default",))
    assert said.intents[:2] == (Intent.DANGER, Intent.STOP)
    assert {HoldKind.VULNERABLE, HoldKind.ATTORNEY} <= set(said.holds)
    assert said.urgency is Urgency.NOW


def test_a_providers_keyword_does_not_hide_danger() -> None:
    """The provider took it for START, and the rest of the text is read all the same."""
    said = INTERPRETER.understand("start, or I will kill myself", ("default",), Intent.START)
    assert said.intent is Intent.DANGER


@pytest.mark.parametrize("text", ["", "👍", "‍​", "…", "|" * 5000, "自" * 100_000, "\ud800", "(" * 9000, "a " * 50_000])
def test_any_text_is_understood_in_bounded_time(text: str) -> None:
    """Nothing, marks alone, or far too much: no error, and no rule finds anything."""
    assert INTERPRETER.understand(text, ("default",)).intent is Intent.OTHER


def test_every_rule_has_a_reason_and_a_source() -> None:
    """Counsel reads each of them; "our choice" is a source, nothing is not."""
    rules = [rule for language in INTERPRETER.safety.languages.values() for rule in language.rules]
    assert all(rule.reason and rule.source for rule in rules)
    assert set(SAFETY) - {rule.intent for rule in rules} == {Intent.STOP, Intent.MAYBE_STOP}  # replies.toml has those


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN", "zh-TW", "fr-FR"])
def test_acknowledgements_say_that_they_are_automatic_and_nothing_of_a_debt(locale: str) -> None:
    """Whoever holds the phone reads them."""
    for intent in SAFETY:
        text = INTERPRETER.answer(intent, locale, "cn", ("default",))
        assert not text or "automatic" in text or "自动" in text or "自動" in text
        assert not any(word in text.casefold() for word in ("debt", "owe", "loan", "欠", "债", "債", "还款", "還款"))
    assert "12356" in INTERPRETER.answer(Intent.DANGER, locale, "cn", ("default",))
