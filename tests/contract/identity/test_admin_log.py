"""The administrators' log in the ledger, on SQLite and PostgreSQL: one chain a tenant, whoever writes at once."""

from __future__ import annotations

import asyncio

from gateway.cli.ledger import evidence
from gateway.identity.admin_log import ActOutcome, AdminAct, AdminLog
from gateway.operations.activity import Activity
from gateway.storage.database import Database
from gateway.storage.upgrade.digest_key import has_digest_keys
from tests.support.storage.ledgers import NOW


async def test_acts_at_once_make_one_chain(database: Database) -> None:
    """Twenty acts of three tenants at once, first ones among them: all are there, and every chain holds."""
    log = AdminLog(database, lambda: NOW)
    acts = [AdminAct(f"t{n % 3}", "key:x", "POST /v1/controls", {"id": str(n)}) for n in range(20)]
    await asyncio.gather(*(log.record(each) for each in acts))
    assert {each["target"]["id"] for each in await log.listed(None, 100)} == {str(n) for n in range(20)}
    assert {each["target"]["id"] for each in await log.listed("t1", 100)} == {str(n) for n in range(1, 20, 3)}
    found = await evidence.verify(database)
    assert (found.events, found.subjects, found.broken) == (20, 3, [])


async def test_the_end_of_an_act_follows_its_beginning(database: Database) -> None:
    """The latest first; with the longest tenant that a column holds."""
    log, act = AdminLog(database, lambda: NOW), AdminAct("t" * 64, "user:y", "gateway key create", request_id="r1")
    await log.record(act)
    await log.record(act.ended(ActOutcome.FAILED, "unavailable"))
    found = await log.listed("t" * 64, 10)
    assert [(each["outcome"], each["request_id"]) for each in found] == [("failed", "r1"), ("begun", "r1")]
    assert [each["seq"] for each in await log.listed(None, 10, before=found[0]["seq"])] == [found[1]["seq"]]


async def test_an_act_that_failed_is_no_message_that_failed(database: Database) -> None:
    """The status page counts events by their state: an entry has none."""
    log, act = AdminLog(database, lambda: NOW), AdminAct("acme", "key:x", "POST /v1/controls")
    for outcome in ActOutcome:
        await log.record(act.ended(outcome, "unavailable"))
    minutes = await Activity(database, "acme").last_hour(NOW)
    groups = [each for counts in minutes.values() for each in counts]
    assert {(each.kind, each.state) for each in groups} == {("admin_act", "")}


async def test_denied_acts_can_not_fill_the_ledger(database: Database) -> None:
    """A thousand in a second leave 30 entries; one a minute later has the number of the others."""
    elapsed = 1000.0
    log = AdminLog(database, lambda: NOW, lambda: elapsed)
    for number in range(1000):
        await log.record_denied(AdminAct("acme", "key:x", "POST /v1/controls", {"id": str(number)}), "forbidden")
    await log.record_denied(AdminAct("acme", "key:y", "POST /v1/controls"), "forbidden")
    found = await log.listed("acme", 2000)
    assert [each["actor"] for each in found] == ["key:y"] + ["key:x"] * 30
    assert {each["unrecorded"] for each in found} == {0}
    elapsed += 60
    for _ in range(2):
        await log.record_denied(AdminAct("acme", "key:x", "POST /v1/controls"), "forbidden")
    [last, *rest] = await log.listed("acme", 2000)
    assert (last["actor"], last["outcome"], last["unrecorded"], len(rest)) == ("key:x", "refused", 970, 31)
    assert (await evidence.verify(database)).broken == []


async def test_a_permitted_act_is_always_recorded(database: Database) -> None:
    """Also of an actor whose denied acts are beyond the limit; it has their number."""
    log = AdminLog(database, lambda: NOW, lambda: 1000.0)
    act = AdminAct("acme", "key:x", "POST /v1/controls")
    for _ in range(40):
        await log.record_denied(act, "forbidden")
    for _ in range(2):
        await log.record(act)
    found = await log.listed("acme", 100)
    assert [(each["outcome"], each["unrecorded"]) for each in found[:3]] == [
        ("begun", 0),
        ("begun", 10),
        ("refused", 0),
    ]


async def test_a_ledger_keeps_to_its_first_digest_key(database: Database) -> None:
    """Of processes that start at once with different keys, one kind starts; and so at every later start."""
    answers = await asyncio.gather(*(_has_keys(database, f"key {n % 2}") for n in range(6)))
    assert sum(answers) == 3
    assert [await _has_keys(database, f"key {n}") for n in range(2)] == [answers[0], answers[1]]


async def _has_keys(database: Database, check: str) -> bool:
    return await has_digest_keys(database, {1: check}, {1: check})
