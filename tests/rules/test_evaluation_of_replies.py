"""How well replies are understood on the half of our corpus that the weights were not trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from gateway.core.reasons import Intent
from gateway.replies.corpus import (
    LabelledReply,
    digest_of_training,
    read_corpus,
    read_labelled,
    read_patterns,
    split,
    wording,
)
from gateway.replies.evaluation import Proportion, evaluate
from tests.support.rules.replies import POLICIES, shipped_interpreter

ROOT = Path(__file__).parents[2] / "ops" / "replies"
CORPUS = read_corpus(ROOT / "corpus")
UNSEEN = read_corpus(ROOT / "unseen")


@cache
def _halves() -> tuple[Sequence[LabelledReply], Sequence[LabelledReply]]:
    """For training, and held out."""
    return split(CORPUS, shipped_interpreter().safety.normalise)


def test_the_floors_hold_on_the_held_out_half() -> None:
    """Safety recall at least 0.98, at most 10 % handed over falsely, 2 % wrong, 1 % answered out of scope.

    A test for regressions: rules were changed after a look at this half (ops/replies.md).
    """
    found = evaluate(_halves()[1], shipped_interpreter(), ("default", "cn"))
    assert (found.safety_recall.value or 0) >= 0.98
    assert (found.false_hand_over.value or 0) <= 0.10
    assert (found.wrong_answered.value or 0) <= 0.02
    assert (found.out_of_scope_answered.value or 0) <= 0.01
    assert (found.answered.value or 0) >= 0.7  # it may abstain, and must be of use


def test_what_nothing_was_trained_or_mended_on() -> None:
    """Floors near what they measured when they were new (ops/replies.md): 1 in 20 of what is serious is missed."""
    found = evaluate(UNSEEN, shipped_interpreter(), ("default", "cn"))
    assert (found.safety_recall.value or 0) >= 0.93
    assert (found.false_hand_over.value or 0) <= 0.18  # a quarter of what is harmless there are traps
    assert (found.wrong_answered.value or 0) <= 0.02
    assert (found.out_of_scope_answered.value or 0) <= 0.01
    seen = {wording(each.text, shipped_interpreter().safety.normalise) for each in CORPUS}
    assert not seen & {wording(each.text, shipped_interpreter().safety.normalise) for each in UNSEEN}


def test_no_wording_is_in_both_halves_and_each_language_has_enough() -> None:
    """At least 400 texts in each of three languages; the normal forms of the halves are disjoint."""
    forms = [
        {shipped_interpreter().safety.normalise(each.text).replace("|", " ").replace(" ", "") for each in half}
        for half in _halves()
    ]
    assert not forms[0] & forms[1]
    assert all(sum(each.language == language for each in CORPUS) >= 400 for language in ("en", "zh-Hans", "zh-Hant"))


def test_patterns_give_the_same_texts_each_time(tmp_path: Path) -> None:
    """Each of the alternatives of a pattern and of a name, at most as many as are wanted, under their intent."""
    (tmp_path / "en.txt").write_text(
        "= bill: rent|gas\n# paid\n(i|we|) paid (it|this)\n# other\npaid the {bill}\n", "utf-8"
    )
    texts = read_patterns(tmp_path, 4)
    assert texts == read_patterns(tmp_path, 4)
    assert {each.text for each in texts if each.intent is Intent.OTHER} == {"paid the rent", "paid the gas"}
    paid = [each.text for each in texts if each.intent is Intent.PAID]
    assert len(paid) == 4
    assert set(paid) <= {f"{who}paid {what}" for who in ("i ", "we ", "") for what in ("it", "this")}


def test_every_pattern_is_of_an_intent_that_the_weights_know() -> None:
    """Each language has patterns of each intent, serious ones for the fallback."""
    patterns = read_patterns(ROOT / "training", 2)
    known = set(map(Intent, (*shipped_interpreter().weights.intents, *shipped_interpreter().serious.intents))) - {
        Intent.MAYBE_STOP
    }
    languages = {each.language for each in patterns}
    assert {(each.language, each.intent) for each in patterns} == {(one, other) for one in languages for other in known}


def test_the_weights_are_made_from_what_is_here() -> None:
    """Whoever edits the corpus, the patterns or the script trains anew: ops/replies/train."""
    digest = digest_of_training(ROOT, POLICIES / "replies" / "traditional.toml")
    shipped = shipped_interpreter()
    assert [shipped.weights.trained_on, shipped.serious.trained_on] == [digest, digest]


def test_rules_and_weights_are_small() -> None:
    """At most 20 MB are shipped."""
    assert sum(path.stat().st_size for path in (POLICIES / "replies").iterdir()) < 20e6


def test_two_hundred_replies_a_second_on_one_core() -> None:
    """In processor time, which the load of the machine does not change."""
    texts = [each.text for each in _halves()[1][:200]]
    started = time.process_time()
    for text in texts:
        shipped_interpreter().understand(text, ("default",))
    assert time.process_time() - started < 1


@pytest.mark.parametrize(("hits", "of", "low", "high"), [(0, 10, 0, 0.2775), (5, 10, 0.2366, 0.7634), (0, 0, 0, 1)])
def test_wilsons_interval(hits: int, of: int, low: float, high: float) -> None:
    """Known values of the score interval."""
    assert Proportion(hits, of).interval == pytest.approx((low, high), abs=1e-3)


def test_files_of_labelled_replies_are_read(tmp_path: Path) -> None:
    """Lines of JSON or CSV; an unknown intent is refused with its row."""
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text('{"text": "已还", "language": "zh-Hans", "intent": "paid"}\n', "utf-8")
    table.write_text("text,language,intent\n已还,zh-Hans,paid\n", "utf-8")
    assert read_labelled(lines) == read_labelled(table) == [LabelledReply("已还", "zh-Hans", Intent.PAID)]
    table.write_text("text,language,intent\nx,en,nonsense\n", "utf-8")
    with pytest.raises(ValueError, match="row 1"):
        read_labelled(table)
