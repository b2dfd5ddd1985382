"""The reminders that are sent around: each of another borrower, in a zone in which it is about noon now.

Must not import the gateway: load generator and rivals use it as well.
"""

from __future__ import annotations

from datetime import UTC, datetime

# Area codes in use; with them, and exchanges that are no service codes, every number is a valid one.
_AREAS = (202, 203, 205, 206, 207, 208, 209, 210, 212, 213)
_EXCHANGES = 600  # from 222 on
_BODY = (
    b'{"borrower":{"id":"B-%(n)d","name":"Chen Mei","locale":"en-US","jurisdiction":"zz","time_zones":["%(zone)s"],'
    b'"addresses":{"sms":"%(phone)s","email":"b%(n)d@example.com","inapp":"B-%(n)d"}},'
    b'"case":{"id":"C-%(n)d","product":"card","due_date":"2026-11-01","stage":"first_reminder"},'
    b'"template":"overdue-first","variables":{"amount":"%(amount)s","currency":"USD","due_date":"2026-11-01"},'
    b'"route":["%(route)s"],"category":"collections"%(more)s}'
)


def noon() -> str:
    """A zone whose clocks show about noon now, so that every message may be sent at any hour of ours."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"  # POSIX counts westwards


_ZONE = noon().encode()


def phone(number: int) -> str:
    """The phone number of reminder ``number``, its own among six million."""
    area, rest = number % len(_AREAS), number // len(_AREAS)
    exchange, line = 222 + rest // 10_000 % _EXCHANGES, rest % 10_000
    # N11 are service codes, and 555 is fiction's: neither may be called.
    exchange += 600 - exchange if exchange in (311, 411, 511, 611, 711, 811, 555) else 0
    return f"+1{_AREAS[area]}{exchange}{line:04d}"


def one(number: int, route: str = "sms", more: bytes = b"") -> bytes:
    """The body of one request."""
    amount = b"%d.%02d" % (number % 5_000 + 1, number % 100)
    return _BODY % {
        b"n": number,
        b"zone": _ZONE,
        b"phone": phone(number).encode(),
        b"amount": amount,
        b"route": route.encode(),
        b"more": more,
    }


def batch(first: int, size: int, route: str = "sms") -> bytes:
    """The body of a batch request, each item with its own idempotency key."""
    items = (one(n, route, b',"idempotency_key":"bench-item-%d"' % n) for n in range(first, first + size))
    return b'{"notifications":[' + b",".join(items) + b"]}"
