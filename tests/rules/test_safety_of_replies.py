"""The safety rules by example: what is found however it is written, and what is not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.core.reasons import SAFETY, HoldKind, Intent
from gateway.core.understanding import Urgency
from gateway.replies.rule_files import load_safety
from gateway.replies.safety import SafetyRules
from gateway.replies.weights import Weights, features_of
from tests.support.rules.replies import POLICIES, shipped_interpreter

PACKS = ("default", "cn")
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
    ("mrs patel passed on thursday", Intent.DECEASED),
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
    said = shipped_interpreter().understand(text, ("default",))
    assert intent in said.intents
    assert said.intent in SAFETY


@pytest.mark.parametrize("text", NOT_FOUND)
def test_harmless_words_set_no_hold(text: str) -> None:
    """Idioms, dead batteries and deadlines are no safety rule's."""
    said = shipped_interpreter().understand(text, ("default",))
    assert (said.intent in SAFETY, said.holds) == (False, ())


@pytest.mark.parametrize("text", ["I am not going to complain", "请问“破产”是什么意思", "he is not dead"])
def test_what_is_only_mentioned_is_read_by_a_person_and_holds_nothing(text: str) -> None:
    """A negation or a quotation is no statement; but a rule that is unsure doesn't let a machine answer."""
    said = shipped_interpreter().understand(text, ("default",))
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
    said = shipped_interpreter().understand(text, ("default",))
    assert (said.intent, said.urgency, said.holds) == (intent, urgency, ())
    assert bool(said.review_within) is (urgency is Urgency.ROUTINE)


def test_only_thanks_stops_and_what_is_answered_wait_for_nobody() -> None:
    """Every other intent has an urgency and a clock."""
    follows = shipped_interpreter().safety.consequences
    unread = {each for each in Intent if each not in follows or follows[each].urgency is Urgency.NONE}
    assert unread == {Intent.THANKS, Intent.STOP, Intent.START, Intent.HELP}
    assert all(each.review_within for intent, each in follows.items() if intent not in unread)


@pytest.mark.parametrize("text", ["I'm not going to kill myself yet", "他说“不想活了”"])
def test_danger_holds_in_negations_and_quotations(text: str) -> None:
    """A false alarm costs a call."""
    said = shipped_interpreter().understand(text, ("default",))
    assert (said.intent, said.urgency, said.holds) == (Intent.DANGER, Urgency.NOW, (HoldKind.VULNERABLE,))


def test_everything_that_a_reply_says_has_its_consequence() -> None:
    """The first intent names the reply; the holds of all of them are set, and the shortest clock counts."""
    said = shipped_interpreter().understand(
        "Stop texting me. I lost my job, my lawyer will call, I want to die", ("default",)
    )
    assert said.intents[:2] == (Intent.DANGER, Intent.STOP)
    assert {HoldKind.VULNERABLE, HoldKind.ATTORNEY} <= set(said.holds)
    assert said.urgency is Urgency.NOW


def test_a_providers_keyword_does_not_hide_danger() -> None:
    """The provider took it for START, and the rest of the text is read all the same."""
    said = shipped_interpreter().understand("start, or I will kill myself", ("default",), Intent.START)
    assert said.intent is Intent.DANGER


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("食晒成排藥喇好暈", Intent.DANGER),
        ("车间里机器把我手指头轧了", Intent.ILLNESS),
    ],
)
def test_what_no_rule_has_the_second_net_may_find(text: str, intent: Intent) -> None:
    """With the hold of its kind, at least its urgency and at most its clock, as a rule's hit; the weights are named."""
    said, follows = shipped_interpreter().understand(text, PACKS), shipped_interpreter().safety.consequences[intent]
    assert shipped_interpreter().safety.hits(text) == ([], [])
    assert (said.intents[0], said.rules) == (intent, ("weights",))
    assert follows.hold in said.holds
    assert said.urgency >= follows.urgency
    assert said.review_within <= follows.review_within


def test_the_second_net_reads_all_of_a_long_reply() -> None:
    """What is serious stands in one of its stretches, which overlap by half; the end is read like the beginning."""
    words = shipped_interpreter().safety.normalise("i keep thinking about ending things")
    assert Intent.DANGER in shipped_interpreter().serious.serious(f"{'the weather is nice ' * 30}{words}")
    assert shipped_interpreter().serious.serious("the weather is nice " * 30) == []


def test_of_kinds_about_as_likely_the_second_net_names_each() -> None:
    """At most three, and one alone where it is sure; none where it knows too few of the pieces."""
    net = Weights("", ("danger", "illness", "other", "stop"), (0.0,) * 4, {}, 1.0, 0.5, 0.5, "")
    pieces = features_of("somebody said something")
    for likely, expected in (((9, 9, 0, 0), ["danger", "illness"]), ((9, 0, 0, 1), ["danger"]), ((0, 0, 9, 0), [])):
        weights = tuple(1000 * each for each in likely)
        known = msgspec.structs.replace(net, features=dict.fromkeys(pieces, weights))
        assert known.serious("somebody said something") == [Intent(each) for each in expected]
        few = msgspec.structs.replace(net, features=dict.fromkeys(pieces[: len(pieces) // 3], weights))
        assert few.serious("somebody said something") == []


@pytest.mark.parametrize(
    "text",
    [
        "ma fille a son spectacle ce soir, je rentre vers huit heures",
        "mi hermano trabaja en una panadería del centro",
        "wir grillen am Samstag im Garten mit den Nachbarn",
        "meu vizinho comprou uma bicicleta nova",
        "मेरे भाई ने नई साइकिल ली है",
    ],
)
def test_the_second_net_abstains_in_a_language_that_it_has_not_learned(text: str) -> None:
    """The rules of that language still hold."""
    assert shipped_interpreter().understand(text, PACKS).intents == (Intent.OTHER,)


@pytest.mark.parametrize(
    "text",
    [
        "the scam documentary was good",
        "my tablet just died",
        "他去派出所办护照",
        "明天上午去存钱",
        "饿死我了先吃饭",
        "累死了今天",
        "How do I decide on an international transfer?",
        "借两万一个月多少利息",
    ],
)
def test_serious_words_in_harmless_uses_are_nothing_serious(text: str) -> None:
    """Idioms, titles, other subjects, other words ("international" is no "internado")."""
    assert set(SAFETY).isdisjoint(shipped_interpreter().understand(text, PACKS).intents)


@pytest.mark.parametrize(
    "text", ["是", "对", "yes", "undo", "好的", "是的没错", "yes please", "yes thats right", "確認", "冇錯"]
)
def test_a_confirmation_is_nothing_serious(text: str) -> None:
    """What is read back is confirmed by a word, of which the weights know too little."""
    assert set(SAFETY).isdisjoint(shipped_interpreter().understand(text, PACKS).intents)


def test_idioms_of_one_language_are_none_of_another_ones_words() -> None:
    """ "Police" is French, too: an English idiom is taken out before the French rules are asked."""
    assert set(SAFETY).isdisjoint(shipped_interpreter().understand("my dog is a police dog", PACKS).intents)


@pytest.mark.parametrize("text", ["", "👍", "‍​", "…", "|" * 5000, "自" * 100_000, "\ud800", "(" * 9000, "a " * 50_000])
def test_any_text_is_understood_in_bounded_time(text: str) -> None:
    """Nothing, marks alone, or far too much: no error, and no rule finds anything."""
    assert shipped_interpreter().understand(text, ("default",)).intent is Intent.OTHER


def test_every_rule_has_a_reason_and_a_source() -> None:
    """Counsel reads each of them; "our choice" is a source, nothing is not."""
    rules = [rule for language in shipped_interpreter().safety.languages.values() for rule in language.rules]
    assert all(rule.reason and rule.source for rule in rules)
    assert set(SAFETY) - {rule.intent for rule in rules} == {Intent.STOP}  # replies.toml has those words


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN", "zh-TW", "fr-FR"])
def test_acknowledgements_say_that_they_are_automatic_and_nothing_of_a_debt(locale: str) -> None:
    """Whoever holds the phone reads them."""
    for intent in SAFETY:
        text = shipped_interpreter().answer(intent, locale, "cn", ("default",))
        assert not text or "automatic" in text or "自动" in text or "自動" in text
        assert not any(word in text.casefold() for word in ("debt", "owe", "loan", "欠", "债", "債", "还款", "還款"))
    assert "12356" in shipped_interpreter().answer(Intent.DANGER, locale, "cn", ("default",))


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("我爸没几天就走了", Intent.DECEASED),  # and this is none
        ("I am not in prison", Intent.OTHER),  # a French rule has the word, an English negation is before it
        ("您是不是弄错了，我姓李", Intent.WRONG_PARTY),  # "is it or isn't it" negates nothing
        ("wr0ng number", Intent.WRONG_PARTY),
        ("I want to k1ll myself", Intent.DANGER),
        ("my brother is in jial", Intent.DETAINED),  # two letters swapped in a short word
        ("please send the form", Intent.OTHER),  # which is no "from"
        ("你send錯咗", Intent.WRONG_PARTY),  # two scripts in one phrase
        ("被警方带走了", Intent.DETAINED),
        ("他已经搬走了", Intent.WRONG_PARTY),
        ("wrng number", Intent.WRONG_PARTY),  # without its vowels
        ("i lost my jbo", Intent.HARDSHIP),  # three letters, two of them swapped
        ("this is harrasment", Intent.COMPLAINT),  # doubled where it isn't
        ("incarserated", Intent.DETAINED),  # a slip in the beginning of a word with any ending
        ("i wanna d1e", Intent.DANGER),
        ("hes doin time", Intent.DETAINED),
        ("sum1 nicked my details", Intent.FRAUD),  # an abbreviation
        ("dnt contact me again", Intent.MAYBE_STOP),  # a keyword, abbreviated: a person decides
        ("想4", Intent.DANGER),  # by the sound
        ("zisha", Intent.DANGER),
        ("还布起", Intent.HARDSHIP),
        ("佢仲喺入面坐監", Intent.DETAINED),  # Cantonese, by the rules of written Chinese
        ("not him mate", Intent.WRONG_PARTY),
        ("我打110", Intent.COMPLAINT),
        ("he got 18 months", Intent.DETAINED),
    ],
)
def test_how_words_are_read(text: str, intent: Intent) -> None:
    """Negation, misspelling, abbreviations, sounds and mixed scripts, by the way that rules are matched."""
    assert intent in shipped_interpreter().understand(text, PACKS).intents


@pytest.mark.parametrize(
    "text",
    [
        "我想4月还",
        "我要还4千",
        "分4期可以吗",
        "balance plz",
        "紫砂壶多少钱",
        "好久不见",
        "我现在还款",
        "the website went down",
    ],
)
def test_what_only_looks_or_sounds_so_is_harmless(text: str) -> None:
    """A number of something stands for no sound, and a known abbreviation is no misspelling."""
    assert set(SAFETY).isdisjoint(shipped_interpreter().understand(text, PACKS).intents)


def test_a_negation_inside_of_a_phrase_counts() -> None:
    """A husband who has not died is no bereavement, though the rule's words all stand there; a person reads it."""
    said = shipped_interpreter().understand("我老公没有去世", PACKS)
    assert Intent.DECEASED not in said.intents
    assert HoldKind.BEREAVEMENT not in said.holds
    assert said.urgency is Urgency.ROUTINE


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("I already paid", Intent.PAID),
        ("ＩＴ'S ＢＥＥＮ ＰＡＩＤ", Intent.PAID),
        ("钱都还清了还发什么", Intent.PAID),
        ("尋日還咗喇", Intent.PAID),
        ("can we spread the payments", Intent.PLAN),
        ("有没有分期方案", Intent.PLAN),
        ("每個月還一千得唔得", Intent.PLAN),
        # What is asked, to come, partial, negated, or of something else.
        ("have I paid this month?", Intent.OTHER),
        ("已经还了吗", Intent.OTHER),
        ("did i pay it already", Intent.OTHER),
        ("i paid for lunch", Intent.OTHER),
        ("书已经还了", Intent.OTHER),
        ("once I am paid I will pay you", Intent.OTHER),
        ("I paid half of it", Intent.OTHER),
        ("I paid my rent", Intent.OTHER),
        ("我昨天打了电话给你们", Intent.OTHER),
        ("等我发了工资就还了", Intent.OTHER),
        ("我周三之前还清", Intent.OTHER),
        ("我不想分期", Intent.OTHER),
        ("cancel my payment plan", Intent.OTHER),
        ("I paid already and want to die", Intent.DANGER),  # safety is first, as ever
    ],
)
def test_plain_words_for_paid_and_plan(text: str, intent: Intent) -> None:
    """What is said plainly is understood without the weights; what leaves a doubt is not."""
    said = shipped_interpreter().understand(text, PACKS)
    assert said.intent is intent or (intent is Intent.OTHER and said.intent not in (Intent.PAID, Intent.PLAN))


def test_plain_words_say_harmless_things_only(tmp_path: Path) -> None:
    """Nothing of safety can be put beside the safety rules, where a mere doubt would turn it off."""
    for path in (POLICIES / "replies").glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    with (tmp_path / "en.toml").open("a") as file:
        file.write('\n[[plain]]\nid = "x"\nintent = "deceased"\nreason = "x"\nphrases = ["dead"]\n')
    with pytest.raises(ValueError, match=r"en.toml: rule x: plain words may say paid, plan"):
        load_safety(tmp_path)


def test_a_negation_is_looked_for_near_a_phrase_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a reply grows with its length, and not with its square: all before each phrase was searched."""
    searched: list[int] = []

    class Negation:
        def search(self, text: str) -> None:
            searched.append(len(text))

    monkeypatch.setattr(SafetyRules, "negations", property(lambda _: [Negation()]))
    shipped_interpreter().understand("收到通知。" * 700 + "我老公没有去世", PACKS)
    assert 0 < max(searched) <= 200


def test_a_word_that_is_cut_off_negates_nothing() -> None:
    """Where the search begins in "cannot", its "not" is none."""
    for filling in range(150, 200):
        text = f"i cannot {('wxyz' * 50)[:filling]} husband died"
        assert shipped_interpreter().understand(text, PACKS).intent is Intent.DECEASED, filling
