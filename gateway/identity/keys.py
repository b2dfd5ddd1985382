"""API keys: created, looked up, revoked. Only a keyed digest of the secret is stored; the secret is shown once.

Knows nothing of HTTP. A key reads ``ndg_<id>_<secret>``: the id finds the row, the secret proves the caller.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from gateway.core.security.signing import Signer
from gateway.identity.users import Role, User
from gateway.storage.database import Database
from gateway.storage.tables.identity import api_keys, users

PREFIX = "ndg"
_ID_BYTES = 6  # names a row; needs no secrecy
_SECRET_BYTES = 32  # 256 bits, so that a fast keyed hash is enough and no slow password hash is needed
_LONGEST_NAME = 80  # the column's width
_LONGEST_NETWORKS = 500  # the column's width


class Scope(StrEnum):
    """What a key may do.

    ``admin`` may do everything within the key's own tenant. ``platform`` sets and ends controls of every tenant and of
    other tenants; it includes no right to a tenant's data, and no other scope includes it.
    """

    SEND = "send"
    READ = "read"
    WORDS = "words"  # what borrowers were told, word for word; each look is an entry of the administrators' log
    MANAGE = "manage"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_EDIT = "templates:edit"
    TEMPLATES_APPROVE = "templates:approve"
    ADMIN = "admin"
    PLATFORM = "platform"


# Who may do something with templates may look at them.
_INCLUDED = {Scope.TEMPLATES_READ: (Scope.TEMPLATES_EDIT, Scope.TEMPLATES_APPROVE)}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored. ``digest`` is keyed with the gateway's secret, so a stolen table opens nothing.

    ``expires_at`` None: it does not expire. ``networks`` (): it may be used from every address. ``user_id``: whose key
    it is, "" of a system's; one of a user who is disabled is revoked.
    """

    id: str
    tenant: str
    name: str
    digest: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    user_id: str = ""
    owner_role: Role | None = None  # of that user

    @property
    def person(self) -> str:
        """The user whose key it is, as the actor of events; "" of a system's key."""
        return f"user:{self.user_id}" if self.user_id else ""

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def allows_from(self, host: str) -> bool:
        """Whether the key may be used from this client address; an unreadable one is in no network."""
        if not self.networks:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # a server that listens on both families sees IPv4 clients so
        return any(address in each for each in self.networks)

    def may(self, scope: Scope) -> bool:
        """Whether the key has ``scope``, or one that includes it."""
        if scope is Scope.PLATFORM:
            return scope in self.scopes
        return not self.scopes.isdisjoint((scope, Scope.ADMIN, *_INCLUDED.get(scope, ())))


class Keys:
    """The API keys of all tenants."""

    def __init__(self, database: Database, signer: Signer) -> None:
        self._database = database
        self._signer = signer

    async def create(
        self,
        tenant: str,
        name: str,
        scopes: Iterable[str],
        now: datetime,
        *,
        expires_at: datetime | None = None,
        networks: Iterable[str] = (),
        owner: User | None = None,
    ) -> tuple[str, str]:
        """Create a key; answers its id and the whole key, which can't be shown again.

        ``networks`` are addresses or networks in CIDR notation (RFC 4632), such as 10.0.0.0/8. ``owner`` is the person
        whose key it is: what takes persons counts it as that one.

        Raises: ValueError for an unknown scope, none at all, a name that is too long, an expiry that is past, what is
        no network, or an owner who is disabled or of another tenant.
        """
        if owner is not None and (owner.tenant != tenant or owner.disabled_at is not None):
            raise ValueError("a person's key needs an enabled user of the same tenant; see gateway user list")
        allowed = " ".join(str(ip_network(each)) for each in networks)
        if len(allowed) > _LONGEST_NETWORKS:
            raise ValueError(f"a key's networks take at most {_LONGEST_NETWORKS} characters together; give larger ones")
        if expires_at is not None and expires_at <= now:
            raise ValueError("a key's expiry has to be in the future")
        wanted = sorted({Scope(each) for each in scopes})
        if not wanted:
            raise ValueError(f"a key needs at least one scope of: {', '.join(Scope)}")
        if not tenant or len(name) > _LONGEST_NAME:
            raise ValueError(f"a key needs a tenant, and a name of at most {_LONGEST_NAME} characters")
        identifier, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
        row = {
            "id": identifier,
            "tenant": tenant,
            "name": name,
            "digest": self._signer.key_digest(secret),
            "scopes": " ".join(wanted),
            "created_at": now,
            "expires_at": expires_at,
            "networks": allowed,
            "user_id": owner.id if owner is not None else "",
        }
        await self._database.write(lambda connection: connection.execute(insert(api_keys), [row]))
        return identifier, f"{PREFIX}_{identifier}_{secret}"

    async def list(self, tenant: str | None = None) -> list[ApiKey]:
        """All keys, or one tenant's, revoked ones too, oldest first."""
        query = _with_owners().order_by(api_keys.c.created_at, api_keys.c.id)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        return await self._database.read(lambda connection: [_key(row) for row in connection.execute(query)])

    async def find(self, key_id: str) -> ApiKey | None:
        query = _with_owners().where(api_keys.c.id == key_id)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else _key(row)

    async def revoke(self, key_id: str, now: datetime) -> bool:
        """False where there is no such key, or it was revoked before."""

        def write(connection: Connection) -> bool:
            live = (api_keys.c.id == key_id) & api_keys.c.revoked_at.is_(None)
            return connection.execute(update(api_keys).where(live).values(revoked_at=now)).rowcount == 1

        return await self._database.write(write)

    def matches(self, key: ApiKey, secret: str) -> bool:
        """Whether ``secret`` is the key's, compared in constant time."""
        return hmac.compare_digest(self._signer.key_digest(secret), key.digest)


def split(text: str) -> tuple[str, str] | None:
    """The id and the secret of a presented key; None for a text of another form."""
    prefix, _, rest = text.partition("_")
    identifier, _, secret = rest.partition("_")
    wrong = prefix != PREFIX or len(identifier) != 2 * _ID_BYTES or len(secret) != 2 * _SECRET_BYTES
    return None if wrong or not text.isascii() else (identifier, secret)


def _with_owners() -> Select[Any]:
    return select(api_keys, users.c.disabled_at, users.c.role).outerjoin(users, users.c.id == api_keys.c.user_id)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row.id,
        row.tenant,
        row.name,
        row.digest,
        frozenset(row.scopes.split()),
        row.created_at,
        row.revoked_at or row.disabled_at,
        row.expires_at,
        tuple(map(ip_network, row.networks.split())),
        row.user_id,
        Role(row.role) if row.role is not None else None,
    )
