"""Verdicts that are stored once: what is read of an event is what was decided, figure by figure."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from gateway.core.codec import encode, verdict_view
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult, Verdict, VerdictKind
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.tables.path import verdicts
from gateway.storage.verdicts import digest_of, fold, references, unfold
from tests.support.storage.ledgers import NOW, draft, store_on

_instants = st.none() | st.integers(-(10**9), 10**9).map(lambda seconds: NOW + timedelta(seconds=seconds))
_words = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_rules = st.builds(
    RuleResult,
    rule=_words,
    verdict=st.sampled_from(VerdictKind),
    reason=st.sampled_from(PolicyReason),
    until=_instants,
    pack=_words,
    version=_words,
    authority=_words,
    detail=_words | st.from_regex(r"[0-9]{1,12} .*", fullmatch=True),
)
_verdicts = st.builds(
    Verdict,
    kind=st.sampled_from(VerdictKind),
    reason=st.sampled_from(PolicyReason),
    until=_instants,
    valid_until=_instants,
    rules=st.lists(_rules, max_size=4).map(tuple),
    time_zones=st.lists(_words, max_size=2).map(tuple),
    tzdata=_words,
    packs=st.lists(st.tuples(_words, _words, _words), max_size=2).map(tuple),
)


@settings(deadline=None)  # a busy machine is no defect
@given(verdict=_verdicts)
def test_a_folded_verdict_unfolds_to_what_was_decided(verdict: Verdict) -> None:
    """Nothing is lost, whatever is in it, and its reference is found in the event's detail as stored."""
    view = verdict_view(verdict)
    reference, digest, text = fold(view)
    assert encode(unfold(reference, text)) == encode(view)
    assert digest == digest_of(text)
    assert references([encode({"when": "accept", "verdict": reference, "why": encode(view)})]) == {digest}


def test_figures_of_the_single_message_make_no_other_verdict() -> None:
    """Another instant, count or time zone is the event's own; another rule, pack or version is another verdict."""
    rule = RuleResult("cap", VerdictKind.SEND, PolicyReason.PERMITTED, pack="uk_conc", version="2", detail="1 of 7")
    one = Verdict(VerdictKind.SEND, PolicyReason.PERMITTED, rules=(rule,), time_zones=("Europe/London",))
    other = Verdict(
        VerdictKind.SEND,
        PolicyReason.PERMITTED,
        valid_until=NOW,
        rules=(
            RuleResult("cap", VerdictKind.SEND, PolicyReason.PERMITTED, pack="uk_conc", version="2", detail="3 of 7"),
        ),
        time_zones=("Europe/Paris",),
    )
    newer = Verdict(VerdictKind.SEND, PolicyReason.PERMITTED, rules=(rule,), tzdata="2026b")
    assert len({fold(verdict_view(each))[1] for each in (one, other)}) == 1
    assert fold(verdict_view(one))[1] != fold(verdict_view(newer))[1]


async def test_many_reminders_share_one_verdict_and_each_shows_its_own(database: Database) -> None:
    """The ledger keeps the rules once; the answer to a question has them whole, with the reminder's own figures."""
    rule = RuleResult("window", VerdictKind.SEND, PolicyReason.PERMITTED, pack="tw", version="1", authority="law: §4")
    store, found = store_on(database), []
    for number in range(3):
        until = NOW + timedelta(hours=number + 1)
        verdict = Verdict(VerdictKind.SEND, PolicyReason.PERMITTED, valid_until=until, rules=(rule,))
        [answer] = await store.accept([draft(f"k{number}", borrower=f"B-{number}", verdict=verdict)], NOW)
        found.append((answer.id, verdict_view(verdict)))
    count = select(func.count()).select_from(verdicts)
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == 1
    for key, view in found:
        shown = await Reads(database).notification("acme", key)
        assert shown is not None
        assert shown["verdict"] == view
