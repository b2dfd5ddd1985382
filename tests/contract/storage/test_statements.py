"""Statements that travel together do what they would do one after the other, on each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Connection, create_engine, func, make_url, select

from gateway.core.errors import Unavailable
from gateway.storage.accept import claim_dedup_keys
from gateway.storage.bulk import inserting, updating
from gateway.storage.database import Database
from gateway.storage.facts import ask_borrowers, ask_facts
from gateway.storage.statements import Rows, Statement, StatementTemplate, execute_pipelined
from gateway.storage.tables.borrowers import cases
from gateway.storage.tables.path import notifications, receipts
from gateway.storage.unit_of_work import UnitOfWork
from gateway.storage.upgrade.migrate import migrate
from tests.support.storage.ledgers import NOW

_ODD = ['O\'Brien "5 %s"', "逾期 \\ $.a", "", "a%(b)s:c?"]

_AMONG = StatementTemplate(lambda sql: f"SELECT id FROM cases WHERE {sql.among('id', 'ids')} ORDER BY id")
_MATCHING = StatementTemplate(
    lambda sql: f"SELECT tenant, id FROM cases WHERE {sql.matching(('tenant', 'id'), 'keys')}"
)
_CLOSED = StatementTemplate(lambda sql: f"SELECT count(*) FROM cases WHERE closed_at <= {sql.value('now')}")


def _receipt(digest: str) -> dict[str, object]:
    return {"digest": digest, "provider": "sms", "status": "sent", "received_at": NOW}


async def test_each_sees_what_those_before_it_did_and_all_are_one_trip(database: Database) -> None:
    """Answers come in the order of the statements; on PostgreSQL the database is spoken to once."""

    def work(connection: Connection) -> list[Rows]:
        rows = [{"tenant": "t", "id": each, "closed_at": NOW} for each in _ODD]
        return execute_pipelined(
            connection,
            [
                _CLOSED.of(connection, now=NOW),
                *inserting(connection, cases, rows),
                _CLOSED.of(connection, now=NOW),
                _AMONG.of(connection, ids=[*_ODD, "another"]),
                _MATCHING.of(connection, keys=[("t", _ODD[0]), ("another", _ODD[1])]),
                _AMONG.of(connection, ids=[]),
            ],
        )

    await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").all())  # it greets a new connection
    before = database.statements
    first, none, then, among, matching, nobody = await database.write(work)
    assert (list(map(tuple, first)), list(none), list(map(tuple, then))) == ([(0,)], [], [(len(_ODD),)])
    assert {key for (key,) in among} == set(_ODD)
    assert (list(map(tuple, matching)), list(nobody)) == ([("t", _ODD[0])], [])
    if not database.is_sqlite:
        assert database.statements - before == 1


async def test_one_that_fails_takes_the_others_with_it(database: Database) -> None:
    """Nothing of the transaction remains, what is said of the error names no value, and the next one goes well."""

    def work(connection: Connection) -> list[Rows]:
        good = inserting(connection, receipts, [_receipt("a")])
        again = inserting(connection, receipts, [_receipt("a")])
        return execute_pipelined(connection, [*good, *again, _CLOSED.of(connection, now=NOW)])

    with pytest.raises(Unavailable) as raised:
        await database.write(work)
    assert "sms" not in str(raised.value)
    count = select(func.count()).select_from(receipts)
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == 0
    await database.write(
        lambda connection: execute_pipelined(connection, inserting(connection, receipts, [_receipt("a")]))
    )
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == 1


async def test_changes_that_give_no_rows_are_one_statement(database: Database) -> None:
    """Each keeps its own values, whatever is in them; where one fails, none has happened."""

    def work(connection: Connection, digest: str) -> list[Rows]:
        rows = [{"tenant": "t", "id": f"{digest} {each}", "closed_at": NOW} for each in _ODD]
        first, second = [_receipt(f"{digest}{each}") for each in _ODD], [_receipt("twice")]
        return execute_pipelined(
            connection,
            [
                *inserting(connection, receipts, first),
                *inserting(connection, cases, rows),
                *inserting(connection, receipts, second),
            ],
        )

    def counted(connection: Connection) -> tuple[set[str], set[str]]:
        return (
            set(connection.execute(select(receipts.c.digest)).scalars()),
            set(connection.execute(select(cases.c.id)).scalars()),
        )

    await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").all())  # it greets a new connection
    before = database.statements
    assert await database.write(lambda connection: work(connection, "a:")) == [(), (), ()]
    if not database.is_sqlite:
        assert database.statements - before == 1
    kept = {"twice", *(f"a:{each}" for each in _ODD)}, {f"a: {each}" for each in _ODD}
    assert await database.read(counted) == kept
    with pytest.raises(Unavailable):
        await database.write(lambda connection: work(connection, "b:"))  # "twice" is there
    assert await database.read(counted) == kept


async def test_one_question_needs_no_transaction(database: Database) -> None:
    """Its answer is of one instant by itself."""
    rows = [{"tenant": "t", "id": "C-1", "closed_at": NOW}]
    await database.write(lambda connection: execute_pipelined(connection, inserting(connection, cases, rows)))
    [(number,)] = await database.query(lambda connection: _CLOSED.of(connection, now=NOW))
    assert number == 1


@pytest.fixture
def new_postgresql(postgresql_url: str) -> Iterator[str]:
    """The URL of a new PostgreSQL database, of whose tables the planner has no statistics from earlier tests."""
    name = f"plans_{uuid4().hex}"
    engine = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield make_url(postgresql_url).set(database=name).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    engine.dispose()


async def test_plans_keep_to_the_indexes_of_empty_tables(new_postgresql: str) -> None:
    """Statements of the busy paths are planned by index before PostgreSQL has statistics of the tables: a plan is
    kept, and would scan whole tables when they have grown."""
    database = Database(new_postgresql)
    await asyncio.to_thread(migrate, database.engine)

    def plan(connection: Connection, asked: Statement) -> str:
        return "\n".join(line for (line,) in connection.exec_driver_sql(f"EXPLAIN {asked.text}", asked.values))

    def work(connection: Connection) -> list[str]:
        keys, ids = [("acme", f"B-{number}") for number in range(100)], [f"dlv_{number}" for number in range(100)]
        row = {"id": "ntf_1", "state": "sent"}
        statements = [
            ask_facts(connection, keys, keys, [(*each, "sms") for each in keys], NOW),
            ask_borrowers(connection, keys, lock=True),
            *UnitOfWork.statements(connection, ids),
            *updating(connection, notifications, ("id",), [row] * 100),
            claim_dedup_keys(connection, [("acme", f"key-{number}", f"ntf_{number}") for number in range(100)]),
        ]
        return [plan(connection, each) for each in statements]

    plans = await database.read(work)
    await database.close()
    assert [each for each in plans if "Seq Scan" in each or "Hash Join" in each or "Materialize" in each] == []
    assert "deliveries_by_borrower" in plans[0]
    assert "notifications_pkey" in plans[-1]
