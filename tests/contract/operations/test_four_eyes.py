"""Four eyes on both databases: what a pack marks is proposed by one person and decided by another."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from gateway.borrowers.four_eyes import FourEyes, ProposedByThemselves
from gateway.policy import SharedAct
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from tests.support.rules.made_packs import MARK, packs
from tests.support.storage.ledgers import NOW, digest, draft, store_on

LIFT = SharedAct.LIFT_HOLD
PACKS = packs(four_eyes=[{"value": ["lift_hold"], "kinds": ["deceased"], "mark": MARK}])


class TwoPeople:
    """The acts of two people at one desk, with a clock that can be advanced."""

    def __init__(self, database: Database) -> None:
        self.now: datetime = NOW
        self.eyes = FourEyes(database, Reads(database), PACKS, digest, lambda: self.now)

    async def lift(self, actor: str, kind: str = "deceased") -> bool:
        return await self.eyes.permit("acme", "B-1", LIFT, kind, kind, f"because, says {actor}", actor)


async def test_the_second_person_decides_and_never_the_first(database: Database) -> None:
    """The first proposes, cannot decide it, and is not asked again once another has."""
    await store_on(database).accept([draft("k1")], NOW)
    office = TwoPeople(database)
    assert await office.lift("user:1") is False
    with pytest.raises(ProposedByThemselves):
        await office.lift("user:1")
    [standing] = await office.eyes.standing("acme", ["B-1", "B-2"])
    assert (standing.act, standing.target, standing.actor) == (LIFT, "deceased", "user:1")
    assert await office.lift("user:2") is True
    await office.eyes.done("acme", "B-1", LIFT, "deceased", "user:2")
    assert await office.eyes.standing("acme", ["B-1"]) == []
    timeline = await Reads(database).timeline("acme", "B-1", 50, 0)
    told = [(each["kind"], each["actor"]) for each in timeline if each["kind"] in ("act_proposed", "proposal_decided")]
    assert told == [("act_proposed", "user:1"), ("proposal_decided", "user:2")]


async def test_what_no_pack_marks_needs_one_person(database: Database) -> None:
    """Another kind of hold, and another act."""
    office = TwoPeople(database)
    assert await office.lift("user:1", "dispute") is True
    assert await office.eyes.permit("acme", "B-1", SharedAct.APPROVE_REVIEW, "dlv_1", "hold", "x", "user:1") is True
    assert await office.eyes.standing("acme", ["B-1"]) == []


async def test_a_proposal_that_nobody_took_up_is_made_again(database: Database) -> None:
    """After a week it stands no more: who was the second is the first then."""
    office = TwoPeople(database)
    await office.lift("user:1")
    office.now += timedelta(days=7)
    assert await office.lift("user:2") is False
    assert await office.lift("user:1") is True
