"""Borrowers' replies by example: what each is taken for, and what is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.model import Intent
from gateway.replies.rules import load_words, normal

POLICIES = Path(__file__).parents[2] / "templates" / "policies"
PACKS = {"tw": ("default", "tw"), "us": ("default", "us_regf"), "cn": ("default", "cn")}
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


# Nobody has to know our keywords.
WORDINGS = [
    "STOP",
    "Stop now",
    "stop it",
    "STOP ALL",
    "please stop",
    "pls stop",
    "Stop texting",
    "stop sending me these",
    "Stop messaging me please",
    "Stop it already",
    "please don't text me",
    "do not text this number",
    "Dont text me anymore",
    "don't message me again",
    "do not message me",
    "no more texts please",
    "no more messages",
    "Never text me again",
    "never contact me again",
    "quit texting me",
    "Quit messaging this number",
    "cease and desist",
    "Cease all communication",
    "leave me alone",
    "lose my number",
    "delete my number",
    "remove my number from your list",
    "take me off your list",
    "take my number off",
    "remove me from this list",
    "opt me out",
    "I want to opt out",
    "i would like to unsubscribe",
    "unsubscribe me",
    "I revoke my consent",
    "I withdraw my consent",
    "not interested stop",
    "I do not want these messages",
    "I don't want to receive texts",
    "i don't want any more messages",
    "I no longer wish to be contacted",
    "I no longer want to receive these",
    "go away",
    "get lost",
    "enough",
    "that's enough already",
    "You are harassing me",
    "this is harassment",
    "I will report you",
    "this is spam",
    "my lawyer will call you",
    "contact my attorney",
    "end this",
    "cancel these texts",
    "cancel all messages",
    "fuck off",
    "f off",
    "bugger off",
    "Stop contacting me about this debt",
    "please cease",
    "block",
    "I'm blocking this number",
    "don't write to me",
    "stop emailing me",
    "stop calling me",
    "don't call me",
    "no",
    "No thanks",
    "no thank you",
    "wish you would stop",
    "discontinue",
    "halt",
    "put me on your do not contact list",
    "do not contact list",
    "退订",
    "不要再发了",
    "别再发了",
    "不要再联系我了",
    "别联系我了",
    "不要给我发短信",
    "别给我发短信了",
    "请停止发送",
    "停止联系",
    "别烦我",
    "不要骚扰我",
    "再发我就投诉",
    "我要投诉",
    "请不要打扰",
    "拉黑",
    "取消订阅",
    "我不想收到短信",
    "不想再收到",
    "请勿再发",
    "勿扰",
    "滚",
    "退訂",
    "不要再傳了",
    "別再傳了",
    "不要再聯絡我",
    "不要傳簡訊給我",
    "請停止",
    "別煩我",
    "我要投訴",
    "請勿打擾",
    "取消訂閱",
    "不想再收到簡訊",
    "請勿再傳",
    "BAJA",
    "no me escriban más",
    "dejen de escribirme",
    "no quiero recibir mensajes",
    "deja de enviarme mensajes",
    "no me contacten",
    "no molestar",
    "darse de baja",
    "ARRET",
    "arrêtez",
    "arrêtez de m'écrire",
    "ne m'écrivez plus",
    "ne me contactez plus",
    "je ne veux plus recevoir de messages",
    "désabonner",
    "Bitte schreiben Sie mir nicht mehr",
    "keine SMS mehr",
    "hören Sie auf",
    "nicht mehr kontaktieren",
    "bitte keine Nachrichten mehr",
    "abbestellen",
    "lassen Sie mich in Ruhe",
    "बंद करो",
    "मत भेजो",
    "मुझे मैसेज मत करो",
    "संदेश भेजना बंद करें",
    "mujhe message mat karo",
    "band karo",
    "message mat bhejo",
    "pare",
    "sair",
    "S T O P",
    "sotp",
    "Unsuscribe",
    "stpo!!",
    "Stopp",
]

HARMLESS = [
    "I paid yesterday",
    "ok",
    "Thanks",
    "yes",
    "who is this",
    "call me tomorrow",
    "how much do I owe",
    "I will pay on Friday",
    "can I pay in instalments",
    "I got paid and will transfer today",
    "what is the account number",
    "我明天还款",
    "已还",
    "谢谢",
    "可以分期吗",
    "收到",
    "多少钱",
    "已經繳了",
    "謝謝",
    "可以分期嗎",
    "pagaré el viernes",
    "gracias",
    "ya pagué",
    "merci",
    "je paie demain",
    "j'ai payé",
    "danke",
    "ich zahle morgen",
    "habe überwiesen",
    "मैं कल भुगतान करूंगा",
    "I cannot pay this week",
    "payment sent at the weekend",
    "I have no money until the end of the month",
    "no problem, paid now",
    "The bus stops here",
    "I'd like a call back",
    "is there an end date for the plan",
    "Do I need to cancel my direct debit",
]


@pytest.mark.parametrize("text", WORDINGS)
def test_any_reasonable_wording_of_stop_stops(text: str) -> None:
    """At once, or until a person has read it; misspelt, rude and in several languages."""
    assert WORDS.understand(text, ("default",)) in (Intent.STOP, Intent.MAYBE_STOP)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_says_something_else_stops_nothing(text: str) -> None:
    """Who pays, asks or thanks goes on hearing from us, and nobody has to read it first."""
    assert WORDS.understand(text, ("default",)) is Intent.OTHER


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
