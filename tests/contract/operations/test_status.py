"""What the status page reads: the last hour's counts, and which processes live."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, insert

from gateway.operations.activity import MINUTES, Activity, EventGroup
from gateway.operations.processes import Heartbeat, read_processes
from gateway.stages.route import ProviderError, ProviderHealth
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event
from gateway.storage.tables.path import events
from tests.support.storage.ledgers import NOW, later

ACCEPTED = EventGroup("accepted", "accepted", "")


async def _happen(database: Database, seconds: float, number: int = 1, kind: str = "accepted") -> None:
    def write(connection: Connection) -> None:
        chain = Chain()
        for _ in range(number):
            chain.append("", Event("acme", "ntf_1", "B-1", later(seconds), kind, "gateway", state="accepted"))
        chain.write(connection)

    await database.write(write)


async def test_activity_counts_each_event_once_however_often_one_looks(database: Database) -> None:
    """Looks at any pace count what came in between, once, in its minute."""
    activity = Activity(database, "acme")
    total = 0
    for second in range(0, 90, 3):
        await _happen(database, second, number=2)
        total += 2
        minutes = await activity.last_hour(later(second))
        assert sum(counts.get(ACCEPTED, 0) for counts in minutes.values()) == total
    assert [counts[ACCEPTED] for counts in minutes.values() if counts] == [40, 20]
    assert len(minutes) == MINUTES


async def test_activity_forgets_what_is_older_than_an_hour(database: Database) -> None:
    """The plot is of the last hour: older minutes are gone, also those that were counted while they were new."""
    activity = Activity(database, "acme")
    await _happen(database, 0)
    assert sum(map(len, (await activity.last_hour(NOW)).values())) == 1
    assert sum(map(len, (await activity.last_hour(NOW + timedelta(minutes=MINUTES))).values())) == 0


async def test_a_late_commit_is_counted(empty_postgresql: str) -> None:
    """A transaction that took its number before others and commits after them is not overlooked."""
    database = Database(empty_postgresql)
    activity = Activity(database, "acme")
    with database.engine.connect() as late:
        late.execute(insert(events), [_row(seq=1)])
        await database.write(lambda connection: connection.execute(insert(events), [_row(seq=2)]))
        for _ in range(3):
            assert sum(counts[ACCEPTED] for counts in (await activity.last_hour(NOW)).values()) == 1
        late.commit()
    for _ in range(3):
        assert sum(counts[ACCEPTED] for counts in (await activity.last_hour(NOW)).values()) == 2
    await database.close()


def _row(seq: int) -> dict[str, Any]:
    row = dict.fromkeys(("reason", "local_at", "detail", "previous_hash", "hash"), "")
    told = {"tenant": "acme", "subject": "ntf_1", "borrower_id": "B-1", "actor": "gateway"}
    return {**row, **told, "seq": seq, "at": NOW, "kind": "accepted", "state": "accepted"}


async def test_a_process_lives_while_it_beats(database: Database) -> None:
    """Kind, version, start and the providers' health are told; one that beats no more is not alive."""
    worker, api = Heartbeat(database, "worker", "1.0 abc"), Heartbeat(database, "api", "1.0 abc")
    health = {"twilio": ProviderHealth(0.5, 20, 3, (ProviderError("timeout", "", 3, NOW),))}
    await worker.beat(NOW, health)
    await api.beat(later(1), {})
    await worker.beat(later(40), health)
    first, second = await read_processes(database)
    assert (first.kind, second.kind, second.version) == ("api", "worker", "1.0 abc")
    assert (second.started_at, second.seen_at, second.providers) == (NOW, later(40), health)
    now = later(40)
    assert [each.alive(now) for each in (first, second)] == [False, True]
    assert [each.sends for each in (first, second)] == [False, True]
