"""Whatever people do with a template, and in whatever order: only legal moves, one live version, an unbroken record."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli.ledger import evidence
from gateway.core.states import TEMPLATE_TRANSITIONS, TemplateState
from gateway.storage.database import Database
from gateway.storage.upgrade.migrate import migrate
from gateway.templates.repository import live_version
from gateway.templates.versions.published_store import PublishedVersions
from gateway.templates.versions.refusals import TemplateRefusal
from gateway.templates.versions.versions_store import VersionStore
from tests.support.templates.template_services import Clock

# What leads on from each state comes more often than what is refused there, so that most examples get far.
ONWARDS = {
    TemplateState.DRAFT: ("submit", "submit", "submit", "save", "discard"),
    TemplateState.SUBMITTED: ("approve", "approve", "approve", "reject"),
    TemplateState.APPROVED: ("publish", "publish", "plan", "plan", "reject"),
    TemplateState.SCHEDULED: ("wait", "wait", "unschedule", "publish"),
    TemplateState.PUBLISHED: ("begin", "begin", "roll_back"),
}
_BACK = ("discard", "reject", "unschedule", "roll_back", "wait")
VERBS = (*_BACK, "begin", "save", "submit", "approve", "publish", "plan")
STEPS = st.tuples(
    st.integers(0, 3),  # 0: any verb at all
    st.integers(0, len(VERBS) - 1),
    st.sampled_from((0, 0, 0, 1, 2)),  # which version, the newest first
    st.sampled_from(("ann", "bob", "cat")),
)
TENANTS = itertools.count()
Step = tuple[int, int, int, str]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One ledger for all examples: each is a tenant of its own."""
    path: Path = tmp_path_factory.mktemp("life")
    database = Database(f"sqlite:///{path}/ledger.db")
    migrate(database.engine)
    yield database
    asyncio.run(database.close())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=8, max_size=40))
def test_only_legal_lives(ledger: Database, steps: list[Step]) -> None:
    """After any sequence: every step recorded is in the table of moves, at most one version is live, planned or open,
    nobody approved what they wrote, and what processes read as live is what the versions say.
    """
    asyncio.run(_live(ledger, f"t{next(TENANTS)}", steps))


async def _live(ledger: Database, tenant: str, steps: list[Step]) -> None:
    clock = Clock()
    versions = VersionStore(ledger, clock)
    for step in steps:
        try:
            await _do(versions, clock, tenant, step)
        except TemplateRefusal:
            continue
    await versions.publish_due(tenant, "t")
    found = await versions.listed(tenant, "t")
    states = [each.state for each in found]
    for single in (TemplateState.DRAFT, TemplateState.SCHEDULED, TemplateState.PUBLISHED):
        assert states.count(single) <= 1
    assert not [each for each in found if each.approved_by and each.approved_by in (*each.editors, each.submitted_by)]
    await _check_record(versions, tenant, {each.number: each.state for each in found})
    standing = {each.tenant: each for each in await PublishedVersions(ledger).changed(0)}.get(tenant)
    live = live_version(found, clock())
    assert (standing.live(clock()) if standing else "") == (live.version if live else "")
    assert (await evidence.verify(ledger)).broken == []


async def _check_record(versions: VersionStore, tenant: str, ends: dict[int, TemplateState]) -> None:
    """The record tells the whole way of each version, by legal moves, to where it stands."""
    now: dict[int, TemplateState] = {}
    for change in await versions.history(tenant, "t"):
        state = TemplateState(change.state)
        before = now.get(change.number)
        if before is None:
            assert state is TemplateState.DRAFT
        elif change.kind != "template_saved":
            assert state in TEMPLATE_TRANSITIONS[before], (before, state)
        now[change.number] = state
    assert now == ends


async def _do(versions: VersionStore, clock: Clock, tenant: str, step: Step) -> None:
    """One verb on one of the versions that there are."""
    sensible, pick, which, who = step
    found, actor = await versions.listed(tenant, "t"), f"user:{who}"
    chosen = found[which % len(found)] if found else None
    fitting = ONWARDS.get(chosen.state, ("begin",)) if chosen and sensible else VERBS
    verb = fitting[pick % len(fitting)]
    number, revision = (chosen.number, chosen.revision) if chosen else (1, 1)
    key = (tenant, "t", number)
    at = clock() + timedelta(hours=1)
    verbs: dict[str, Any] = {
        "begin": lambda: versions.begin(tenant, "t", {"f": "x"}, "", actor),
        "save": lambda: versions.save(key, revision, {"f": f"{who} {revision}"}, actor),
        "discard": lambda: versions.discard(key, revision, actor, "why"),
        "submit": lambda: versions.submit(key, revision, f"e{number}-x", "{}", actor, "why"),
        "approve": lambda: versions.approve(key, actor),
        "reject": lambda: versions.reject(key, actor, "why"),
        "publish": lambda: versions.publish(key, actor, "why"),
        "plan": lambda: versions.publish(key, actor, "why", at),
        "unschedule": lambda: versions.unschedule(key, actor, "why"),
        "roll_back": lambda: versions.roll_back(tenant, "t", None, True, actor, "why"),
    }
    if verb == "wait":
        clock.now += timedelta(minutes=40)
    else:
        await verbs[verb]()
