"""Who is signed in, and who has to wait before they may try again. In the ledger, so that it holds for all processes.

Knows nothing of HTTP or of passwords. A session's id is kept as a digest only.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, delete, insert, or_, select, update

from gateway.core.security.signing import Signer
from gateway.identity.users import User, user_of
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.tables.identity import sessions, sign_in_failures, users

# NIST SP 800-63B-4 section 2.2.3 (AAL2) allows an hour without activity, and a day altogether; a day's work is ours.
_IDLE = timedelta(hours=1)
ABSOLUTE = timedelta(hours=12)
_SEEN_EVERY = timedelta(minutes=1)  # our choice: how exactly the hour is kept, for a write a minute
_SESSION_BYTES = 32
_SHOWN = 16  # hexadecimal digits of a session's digest by which it is listed and ended; our choice
_DEVICE_BYTES = 16

# Failures that cost no wait, by what they are counted for. A person mistypes a few times (``pair``: an e-mail address
# from one source; ``device``: a browser in which that person has signed in before); an office behind one address has
# many people in it (``source``): our choices. ``user`` counts an e-mail address from all sources and unknown devices:
# NIST SP 800-63B-4 section 3.2.2 allows no more than 100. After that every failure doubles the wait, up to a quarter
# of an hour. A known device waits only for its own failures, so that nobody can be kept out by a stranger's guesses.
_FREE = {"pair": 5, "device": 5, "source": 30, "user": 100}
_LONGEST_WAIT = timedelta(minutes=15)
_FORGOTTEN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in. ``form_token`` has to come back with everything that changes something."""

    id: str
    user: User
    form_token: str


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session as an administrator sees it. ``name`` ends it, and opens nothing."""

    name: str
    user: User
    since: datetime
    seen_at: datetime


class Sessions:
    """Opens, finds and closes sessions."""

    def __init__(self, database: Database, signer: Signer) -> None:
        self._database = database
        self._signer = signer

    async def open(self, user: User, now: datetime, lasts: timedelta = ABSOLUTE) -> str:
        """A new session; answers the token that the browser keeps. Those that have expired are forgotten."""
        identifier = secrets.token_urlsafe(_SESSION_BYTES)
        row = {"digest": self._digest(identifier), "user_id": user.id, "created_at": now, "seen_at": now}
        row["ends_at"] = now + min(lasts, ABSOLUTE)

        def write(connection: Connection) -> None:
            connection.execute(delete(sessions).where(sessions.c.created_at <= now - ABSOLUTE))
            connection.execute(insert(sessions), [row])

        await self._database.write(write)
        return self._signer.session_token(identifier)

    async def find(self, token: str, now: datetime) -> Session | None:
        """The live session of a token; None where it is forged, over, or its user is disabled."""
        identifier = self._signer.open_session_token(token)
        if identifier is None:
            return None
        digest = self._digest(identifier)
        query = (
            select(users, sessions.c.seen_at)
            .join(sessions, sessions.c.user_id == users.c.id)
            .where(sessions.c.digest == digest)
            .where(_live(now), users.c.disabled_at.is_(None))
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            return None
        if now - row.seen_at > _SEEN_EVERY:
            seen = update(sessions).where(sessions.c.digest == digest).values(seen_at=now)
            await self._database.write(lambda connection: connection.execute(seen))
        return Session(identifier, user_of(row), self._signer.form_token(identifier))

    async def close(self, session: Session) -> None:
        gone = delete(sessions).where(sessions.c.digest == self._digest(session.id))
        await self._database.write(lambda connection: connection.execute(gone))

    async def list(self, now: datetime, tenant: str | None = None) -> Sequence[LiveSession]:
        """The live sessions of all users, or one tenant's, the latest sign-in first."""
        query = (
            select(users, sessions.c.digest, sessions.c.created_at.label("since"), sessions.c.seen_at)
            .join(sessions, sessions.c.user_id == users.c.id)
            .where(_live(now), users.c.disabled_at.is_(None))
            .order_by(sessions.c.created_at.desc(), sessions.c.digest)
        )
        if tenant is not None:
            query = query.where(users.c.tenant == tenant)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [LiveSession(row.digest[:_SHOWN], user_of(row), row.since, row.seen_at) for row in rows]

    async def end(self, name: str) -> bool:
        """End the session of this name, as ``list`` has it; False where there is none."""
        if len(name) != _SHOWN or not name.isalnum():
            return False
        gone = delete(sessions).where(sessions.c.digest.startswith(name))
        return await self._database.write(lambda connection: connection.execute(gone).rowcount > 0)

    async def end_all(self, user_id: str) -> int:
        """End all sessions of a user; how many there were."""
        gone = delete(sessions).where(sessions.c.user_id == user_id)
        return await self._database.write(lambda connection: connection.execute(gone).rowcount)

    def _digest(self, identifier: str) -> str:
        return self._signer.session_digest(identifier)


class Attempts:
    """Counts failures to sign in, by who is tried and by where it comes from."""

    def __init__(self, database: Database, signer: Signer) -> None:
        self._database = database
        self._signer = signer

    def device(self, email: str) -> str:
        """A token that marks a browser as one in which this person has signed in."""
        nonce = secrets.token_urlsafe(_DEVICE_BYTES)
        return f"{nonce}.{self._signer.device_signature(nonce, email.strip().lower())}"

    async def begin(self, email: str, source: str, now: datetime, device: str = "") -> timedelta:
        """Count an attempt as failed before its outcome is known, so that concurrent attempts are counted too.

        Returns how long to wait; zero: go on. An attempt that has to wait is not counted. The answer is the same
        whether or not there is such a user. ``device`` is a token of ``device()``; any other value counts as none.
        """
        keys = sorted((digest, kind) for kind, digest in self._keys(email, source, device))

        def write(connection: Connection) -> timedelta:
            forgotten = delete(sign_in_failures).where(sign_in_failures.c.last_at <= now - _FORGOTTEN)
            connection.execute(forgotten)
            connection.execute(insert_new(connection, sign_in_failures), [{"digest": digest} for digest, _ in keys])
            known = {}
            for digest, _ in keys:  # in one order everywhere, so that two attempts never wait for each other
                query = select(sign_in_failures).where(sign_in_failures.c.digest == digest).with_for_update()
                known[digest] = connection.execute(query).one()
            until = max((row.wait_until for row in known.values() if row.wait_until is not None), default=now)
            if until > now:
                return until - now
            for digest, kind in keys:
                count = known[digest].failures + 1
                values = {"failures": count, "last_at": now, "wait_until": now + _wait(count - _FREE[kind])}
                connection.execute(update(sign_in_failures).where(sign_in_failures.c.digest == digest).values(**values))
            return timedelta(0)

        return await self._database.write(write)

    async def succeeded(self, email: str, source: str, device: str = "") -> None:
        """Take back the attempt that ``begin`` counted: the source has one failure less, the person's are deleted."""
        keys = dict(self._keys(email, source, device))
        of_source = keys.pop("source", None)
        counted = sign_in_failures.c

        def write(connection: Connection) -> None:
            connection.execute(delete(sign_in_failures).where(counted.digest.in_(sorted(keys.values()))))
            if of_source is not None:
                less = case((counted.failures > 0, counted.failures - 1), else_=0)
                one_less = update(sign_in_failures).where(counted.digest == of_source)
                connection.execute(one_less.values(failures=less, wait_until=None))

        await self._database.write(write)

    def _keys(self, email: str, source: str, device: str) -> Sequence[tuple[str, str]]:
        """What an attempt is counted for, by kind."""
        digest, email = self._signer.sign_in_digest, email.strip().lower()
        nonce, _, signature = device.partition(".")
        if nonce and self._signer.is_device_signature(nonce, email, signature):
            return [("device", digest("device", f"{email}\x1f{nonce}"))]
        return [
            ("pair", digest("pair", f"{email}\x1f{source}")),
            ("source", digest("source", source)),
            ("user", digest("user", email)),
        ]


def _live(now: datetime) -> Any:
    """Not at its end, and used lately. Sessions of an older version have no end of their own."""
    not_over = or_(sessions.c.ends_at.is_(None), sessions.c.ends_at > now)
    return and_(not_over, sessions.c.created_at > now - ABSOLUTE, sessions.c.seen_at > now - _IDLE)


def _wait(beyond: int) -> timedelta:
    """After the ``beyond``-th failure that was not free."""
    if beyond < 0:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(beyond, 20)), _LONGEST_WAIT)
