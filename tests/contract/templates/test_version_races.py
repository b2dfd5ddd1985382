"""Concurrent commands on one template: each succeeds or is refused, and all processes agree on one live version."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.core.states import TemplateState
from gateway.storage.database import Database
from gateway.templates.versions.refusals import TemplateRefusal
from tests.support.templates.template_services import SMS, TEMPLATE, TemplateHarness


@pytest.fixture
def harness(database: Database) -> TemplateHarness:
    """Templates as shipped, and nobody has edited anything."""
    return TemplateHarness(database)


async def _at_once(*verbs: Coroutine[Any, Any, Any]) -> list[str]:
    """What each answered: done, or the refusal's kind. Anything else is a failure."""
    answers = await asyncio.gather(*verbs, return_exceptions=True)
    for each in answers:
        if isinstance(each, BaseException) and not isinstance(each, TemplateRefusal):
            raise each
    return [each.kind if isinstance(each, TemplateRefusal) else "done" for each in answers]


async def test_two_approve_at_once(harness: TemplateHarness) -> None:
    """One of them does, the others are told; it is approved once."""
    number = await harness.submitted()
    people = [f"user:p{each}" for each in range(6)]
    told = await _at_once(*(harness.workflow.approve("acme", TEMPLATE, number, each) for each in people))
    assert sorted(told) == ["done", *["wrong_state"] * 5]
    history = await harness.workflow.history("acme", TEMPLATE, number)
    assert [each.kind for each in history].count("template_approved") == 1


async def test_approving_and_rejecting_at_once(harness: TemplateHarness) -> None:
    """Rejected in the end, whichever came first: what is approved may still be rejected, what is rejected stays so."""
    key = ("acme", TEMPLATE, await harness.submitted())
    told = await _at_once(harness.workflow.approve(*key, "user:bob"), harness.workflow.reject(*key, "user:cat", "no"))
    assert told in (["done", "done"], ["wrong_state", "done"])
    assert await harness.state(key[2]) is TemplateState.REJECTED


async def test_many_publish_at_once(harness: TemplateHarness) -> None:
    """Of several versions published at once one is live in the end, and each of the others was superseded."""
    numbers = [await harness.approved(f"words {each}") for each in range(4)]
    told = await _at_once(
        *(harness.workflow.publish("acme", TEMPLATE, each, "user:bob", "go", confirmed=True) for each in numbers * 2)
    )
    assert sorted(told) == [*["done"] * 4, *["wrong_state"] * 4]
    states = [await harness.state(each) for each in numbers]
    assert sorted(states) == [TemplateState.PUBLISHED, *[TemplateState.SUPERSEDED] * 3]
    await harness.catalog.refresh()
    assert harness.live().startswith(f"e{numbers[states.index(TemplateState.PUBLISHED)]}-")


async def test_publishing_and_rolling_back_at_once(harness: TemplateHarness) -> None:
    """Either order is legal, one version is live, and every process agrees on it."""
    first = await harness.published("one")
    second = await harness.approved("two")
    told = await _at_once(
        harness.workflow.publish("acme", TEMPLATE, second, "user:bob", "go", confirmed=True),
        harness.workflow.roll_back("acme", TEMPLATE, "user:cat", "wrong"),
    )
    assert told == ["done", "done"]
    assert (await harness.state(first), await harness.state(second)) in (
        (TemplateState.PUBLISHED, TemplateState.ROLLED_BACK),  # published, then rolled back to the first
        (TemplateState.ROLLED_BACK, TemplateState.PUBLISHED),  # rolled back to the files, then published
    )
    await harness.watcher.run_once()
    await harness.catalog.refresh()
    assert harness.live() == harness.live(catalog=harness.other)


async def test_saving_and_submitting_at_once(harness: TemplateHarness) -> None:
    """What is submitted is what was read: a save that comes between makes the submission start anew."""
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    key = ("acme", TEMPLATE, begun.number)
    files = {**begun.files, SMS: "unread\n"}
    told = await _at_once(
        harness.workflow.submit(*key, 1, "user:ann", "ready"), harness.workflow.save(*key, 1, files, "user:cat")
    )
    text = await harness.store.text(key)
    submitted = text.stored.state is TemplateState.SUBMITTED
    assert told == (["done", "wrong_state"] if submitted else ["edited_meanwhile", "done"])
    assert text.files == (begun.files if submitted else files)


async def test_many_save_at_once(harness: TemplateHarness) -> None:
    """One of them is kept whole, and every other one is told."""
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    key = ("acme", TEMPLATE, begun.number)
    texts = [{**begun.files, SMS: f"text {each}\n"} for each in range(8)]
    told = await _at_once(*(harness.workflow.save(*key, 1, each, f"user:{n}") for n, each in enumerate(texts)))
    assert sorted(told) == ["done", *["edited_meanwhile"] * 7]
    text = await harness.store.text(key)
    assert text.files == texts[told.index("done")]
    assert text.stored.revision == 2


async def test_many_begin_at_once(harness: TemplateHarness) -> None:
    """There is one draft, with the number 1."""
    told = await _at_once(*(harness.workflow.begin("acme", TEMPLATE, f"user:{each}") for each in range(6)))
    assert sorted(told) == ["done", *["draft_exists"] * 5]
    assert [each.number for each in await harness.workflow.versions("acme", TEMPLATE)] == [1]


async def test_no_stamp_is_ever_missed(harness: TemplateHarness) -> None:
    """A process that looks all the time while many publish ends with what the ledger has."""
    tenants = [f"t{each}" for each in range(8)]
    numbers = {each: await harness.approved("words", each) for each in tenants}
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            await harness.other.refresh()

    looking = asyncio.create_task(look())
    publishing = (harness.workflow.publish(each, TEMPLATE, numbers[each], "user:bob", "go") for each in tenants)
    await asyncio.gather(*publishing)
    done.set()
    await looking
    await harness.other.refresh()
    assert all(harness.live(each, harness.other).startswith("e1-") for each in tenants)
