"""Users who sign in: identity, role and password.

Owns users and their passwords. Knows nothing of HTTP; sessions are in sessions.py. Names and addresses of users are
personal data: events and logs have ids only.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, delete, select, update

from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.tables.identity import sessions, users

_ID_BYTES = 6  # names a row; needs no secrecy
_LEAST_PASSWORD = 15  # characters, NIST SP 800-63B-4 section 3.1.1.2, for a password without a second factor
_MOST_PASSWORD = 256  # our choice: longer than any that is typed, and hashing stays cheap
LONGEST_NAME = 80  # the column's width
LONGEST_EMAIL = 254  # RFC 5321 section 4.5.3.1.3, without the brackets

# One hash takes 64 MiB and some 100 ms (the library's defaults, RFC 9106 section 4). Two at once: nobody can fill the
# memory by signing in.
_AT_ONCE = 2


class Role(StrEnum):
    """A user's rights. Viewer, editor and approver are rights on the tenant's templates, each including those before.

    Agent, supervisor and compliance are rights at the desk, on the tenant's borrowers, each including those before and
    a viewer's. An agent looks at borrowers, sets holds, records opt-outs and consents, and cancels; a supervisor lifts
    them, closes cases and decides reviews; a compliance officer hands out evidence.

    Operator and platform are rights at /ops. An operator pauses and resumes what is the tenant's, pins providers,
    redrives or gives up dead letters, and tests and replays webhooks. ``platform`` is for those who run the gateway for
    all tenants: an operator who also sees totals over tenants, sets and ends pauses of every tenant, and ends sessions.
    A page of such totals asks for it with ``require_role(Role.PLATFORM)``, or ``session.user.role.may(Role.PLATFORM)``
    where the page shows less to others. No other role includes it, and it includes neither editing nor approving.
    """

    VIEWER = "viewer"
    EDITOR = "editor"  # writes, submits, sends tests
    APPROVER = "approver"  # approves what others wrote, publishes, rolls back
    AGENT = "agent"
    SUPERVISOR = "supervisor"
    COMPLIANCE = "compliance"
    OPERATOR = "operator"
    PLATFORM = "platform"

    def may(self, needed: Role) -> bool:
        """Whether this role has the rights of ``needed``."""
        return any(
            self in ladder and needed in ladder and ladder.index(self) >= ladder.index(needed) for ladder in _LADDERS
        )


# Each role of a ladder includes those before it.
_LADDERS = (
    (Role.VIEWER, Role.EDITOR, Role.APPROVER),
    (Role.VIEWER, Role.AGENT, Role.SUPERVISOR, Role.COMPLIANCE),
    (Role.VIEWER, Role.OPERATOR, Role.PLATFORM),
)


@dataclass(frozen=True, slots=True)
class User:
    """``test_addresses``: channel → an address of their own, vouched for by whoever added them."""

    id: str
    tenant: str
    name: str = field(repr=False)
    email: str = field(repr=False)
    role: Role
    test_addresses: Mapping[str, str] = field(repr=False)
    created_at: datetime
    disabled_at: datetime | None

    @property
    def actor(self) -> str:
        """The user as the actor of events."""
        return f"user:{self.id}"


class BadUser(ValueError):
    """The user's data are refused. The message has the remedy."""


class Users:
    """The users of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hasher = PasswordHasher()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._nobody = ""

    async def add(
        self,
        tenant: str,
        name: str,
        email: str,
        role: str,
        password: str,
        now: datetime,
        test_addresses: Mapping[str, str] | None = None,
    ) -> User:
        """Raises BadUser: an address that is taken, a weak password, an unknown role."""
        name, email = name.strip(), _normal(email)
        if not tenant or not name or len(name) > LONGEST_NAME:
            raise BadUser(f"a user needs a tenant, and a name of at most {LONGEST_NAME} characters")
        if "@" not in email or len(email) > LONGEST_EMAIL:
            raise BadUser("a user signs in with an e-mail address")
        if role not in list(Role):
            raise BadUser(f"there is no role {role!r}; there are {', '.join(Role)}")
        user = User(new_user_id(), tenant, name, email, Role(role), dict(test_addresses or {}), now, None)
        row = {
            "id": user.id,
            "tenant": tenant,
            "name": name,
            "email": email,
            "role": user.role,
            "password": await self._hash(password),
            "test_addresses": json.dumps(user.test_addresses),
            "created_at": now,
        }

        def write(connection: Connection) -> bool:
            added = insert_new(connection, users).values(row).returning(users.c.id)
            return connection.execute(added).first() is not None

        if not await self._database.write(write):
            raise BadUser("there is a user with this address already")
        return user

    async def list(self, tenant: str | None = None) -> Sequence[User]:
        """All users, or one tenant's, disabled ones too, by tenant and address."""
        query = select(users).order_by(users.c.tenant, users.c.email)
        if tenant is not None:
            query = query.where(users.c.tenant == tenant)
        return await self._database.read(lambda connection: [user_of(row) for row in connection.execute(query)])

    async def find(self, email: str) -> User | None:
        """The user of this address, disabled ones too."""
        query = select(users).where(users.c.email == _normal(email))
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else user_of(row)

    async def disable(self, email: str, now: datetime) -> bool:
        """Disable a user and end all sessions. False where there is no enabled user with this address."""

        def write(connection: Connection) -> bool:
            live = (users.c.email == _normal(email)) & users.c.disabled_at.is_(None)
            found = connection.execute(select(users.c.id).where(live)).scalar_one_or_none()
            if found is None:
                return False
            connection.execute(update(users).where(users.c.id == found).values(disabled_at=now))
            connection.execute(delete(sessions).where(sessions.c.user_id == found))
            return True

        return await self._database.write(write)

    async def set_password(self, email: str, password: str) -> bool:
        """A new password, which ends all sessions and lets a disabled user in again. Raises BadUser for a weak one."""
        hashed = await self._hash(password)

        def write(connection: Connection) -> bool:
            found = connection.execute(select(users.c.id).where(users.c.email == _normal(email))).scalar_one_or_none()
            if found is None:
                return False
            changes = {"password": hashed, "disabled_at": None}
            connection.execute(update(users).where(users.c.id == found).values(**changes))
            connection.execute(delete(sessions).where(sessions.c.user_id == found))
            return True

        return await self._database.write(write)

    async def check(self, email: str, password: str) -> User | None:
        """The user of this address and password, or None; an unknown address takes as long as a known one."""
        query = select(users).where(users.c.email == _normal(email), users.c.disabled_at.is_(None))
        row = await self._database.read(lambda connection: connection.execute(query).first())
        async with self._turns:
            if not self._nobody:  # made by whoever comes first, known or not, so that its cost says nothing
                self._nobody = await asyncio.to_thread(self._hasher.hash, secrets.token_hex())
            hashed = self._nobody if row is None else row.password
            right = await asyncio.to_thread(self._matches, hashed, password[:_MOST_PASSWORD])
        return user_of(row) if row is not None and right else None

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _hash(self, password: str) -> str:
        if not _LEAST_PASSWORD <= len(password) <= _MOST_PASSWORD:
            raise BadUser(f"a password has {_LEAST_PASSWORD} to {_MOST_PASSWORD} characters: take four or five words")
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, password)


def new_user_id() -> str:
    return secrets.token_hex(_ID_BYTES)


def _normal(email: str) -> str:
    return email.strip().lower()


def user_of(row: Any) -> User:
    """A user from a row of the table."""
    addresses = json.loads(row.test_addresses)
    return User(row.id, row.tenant, row.name, row.email, Role(row.role), addresses, row.created_at, row.disabled_at)
