"""Millions of reminders in a ledger: rows of one that the gateway wrote itself, copied by PostgreSQL.

Each copy has ids, keys, an address, a borrower and a case of its own, and is as old as its number says. Not as in a
ledger that has lived: rows of one table stand in order of time, pages are filled as far as new rows may and no
row ever moved or died there, and indexes were built at once (90 % full; those of random keys are 70 % in time). The
hashes in the copies prove nothing: a hash covers its subject's id.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from gateway.storage.schema import metadata

_AT_ONCE = 250_000  # copies in one transaction: what it wrote is vacuumed before a checkpoint writes it to the disk
_IN_ORDER = 10_000  # copies in one statement, whose rows are sorted by their number in memory
# A copy's number is n; the first is 20 days old, and each next one a quarter of a second younger: five million take 15.
_SHIFT = "(-20 * 86400000000::bigint + n * 250000)"
_MILLISECONDS = "(extract(epoch FROM now())::bigint * 1000 - 20 * 86400000::bigint + n * 250)"
_TIME = f"lpad(to_hex({_MILLISECONDS}), 12, '0')"
_NTF = f"'ntf_' || {_TIME} || substr(md5(n::text), 1, 20)"
_DLV = f"'dlv_' || {_TIME} || substr(md5(n::text), 1, 12)"
_MESSAGE = f"CASE one.provider_message_id WHEN '' THEN '' ELSE rpad('SM' || substr({_DLV}, 5), 34, '0') END"
_WHO = {"borrower_id": "'B-' || n", "case_id": "'C-' || n"}
_LATER = "+ mod(n, 400000) * 1000000"  # what is due is due within the same five days, however many there are
_NEW = {
    "borrowers": {"id": "'B-' || n"},
    "dedup_claims": {"dedup_key": "md5('key' || n)", "notification_id": _NTF},
    "notifications": {
        "id": _NTF,
        "idempotency_key": "'portfolio-2026-10-' || lpad(n::text, 8, '0')",
        "dedup_key": "md5('key' || n)",
        **_WHO,
        **{name: f"one.{name} + {_SHIFT}" for name in ("accepted_at", "updated_at")},
        "defer_until": f"one.defer_until {_LATER}",
    },
    "deliveries": {
        "id": _DLV,
        "notification_id": _NTF,
        **_WHO,
        "address_digest": "md5('address' || n)",
        "provider_message_id": _MESSAGE,
        **{name: f"one.{name} + {_SHIFT}" for name in ("created_at", "contacted_at", "sent_at", "read_at")},
        "due_at": f"one.due_at {_LATER}",
    },
    "due_deliveries": {"delivery_id": _DLV, "due_at": f"one.due_at {_LATER}"},
    "attempts": {
        "delivery_id": _DLV,
        "provider_message_id": _MESSAGE,
        **{name: f"one.{name} + {_SHIFT}" for name in ("started_at", "finished_at")},
    },
    "events": {
        "subject": _NTF,
        "borrower_id": "'B-' || n",
        "delivery_id": f"CASE WHEN one.delivery_id IS NULL THEN NULL ELSE {_DLV} END",
        "at": f"one.at + {_SHIFT}",
    },
}
# The rows that belong to notification :one, by table.
_OF_DELIVERY = "delivery_id IN (SELECT id FROM deliveries WHERE notification_id = :one)"
_OWN = {
    "borrowers": "(tenant, id) = (SELECT tenant, borrower_id FROM notifications WHERE id = :one)",
    "dedup_claims": "notification_id = :one",
    "notifications": "id = :one",
    "deliveries": "notification_id = :one",
    "due_deliveries": _OF_DELIVERY,
    "attempts": _OF_DELIVERY,
    "events": "subject = :one",
}


class ReminderCopies:
    """Copies of one notification with all its rows, in numbers from 0 on. Needs a superuser's connection."""

    def __init__(self, engine: Engine, notification_id: str) -> None:
        self._engine = engine
        self._one = notification_id
        self.number = 0

    def grow(self, number: int) -> None:
        """Have ``number`` copies in all; vacuumed and analysed, as autovacuum has done by then."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("SET session_replication_role = replica")  # triggers: rows are as they left them
            connection.exec_driver_sql("SET maintenance_work_mem = '512MB'")
            self._take(connection)
            _maintain_indexes(connection, False)
            for first in range(self.number, number, _AT_ONCE):
                last = min(number, first + _AT_ONCE)
                for start in range(first, last, _IN_ORDER):
                    self._copy(connection, start, min(last, start + _IN_ORDER) - 1)
                connection.commit()
                _outside_transactions(connection, f"VACUUM {', '.join(_NEW)}")
            _maintain_indexes(connection, True)
            for table in _NEW:
                connection.exec_driver_sql(f"REINDEX TABLE {table}")
            # A running gateway has audited long ago what is there; without this, each worker would begin with it.
            connection.exec_driver_sql("DELETE FROM audit_progress")
            connection.exec_driver_sql("INSERT INTO audit_progress (id, seq) SELECT 1, max(seq) FROM events")
            connection.commit()
            _outside_transactions(connection, "VACUUM ANALYZE")
            connection.invalidate()  # its settings and tables go with it
        self.number = number

    def _take(self, connection: Connection) -> None:
        """What is copied, by itself: its tables have no index to find it by while they are filled."""
        for table, own in _OWN.items():
            connection.execute(
                text(f"CREATE TEMPORARY TABLE one_{table} AS SELECT * FROM {table} WHERE {own}"), {"one": self._one}
            )
        connection.commit()

    def _copy(self, connection: Connection, first: int, last: int) -> None:
        for table, new in _NEW.items():
            columns = [column.name for column in metadata.tables[table].columns if column.name != "seq"]
            values = ", ".join(new.get(name, f'one."{name}"') for name in columns)
            names = ", ".join(f'"{name}"' for name in columns)
            order = "n, one.seq" if table == "events" else "n"
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({names}) SELECT {values} FROM one_{table} AS one,"
                f" generate_series({first}::bigint, {last}::bigint) AS n ORDER BY {order}"
            )


def _maintain_indexes(connection: Connection, maintain: bool) -> None:
    """Whether these tables' indexes take new rows; REINDEX makes them anew, which takes less than row by row."""
    tables = ", ".join(f"'{table}'::regclass" for table in _NEW)
    connection.exec_driver_sql(
        f"UPDATE pg_index SET indisready = {maintain}, indisvalid = {maintain} WHERE indrelid IN ({tables})"
    )
    connection.commit()


def _outside_transactions(connection: Connection, statement: str) -> None:
    raw = connection.connection.driver_connection
    assert raw is not None
    raw.autocommit = True
    raw.execute(statement)
    raw.autocommit = False
