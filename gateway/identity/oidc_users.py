"""Who a person is here who signs in by OpenID Connect: role and tenant by claims, and the user's row.

A sign-in is remembered in the ledger until the provider's answer comes back, once, to whichever process.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from gateway.core.security.signing import Signer
from gateway.identity.oidc import OidcProvider, OidcRefused, OidcSettings, PendingSignIn
from gateway.identity.users import LONGEST_EMAIL, LONGEST_NAME, Role, User, new_user_id, user_of
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.tables.identity import pending_sign_ins, users

_LASTS = timedelta(minutes=10)  # our choice: time for a second factor at the provider
_BYTES = 32  # of state, nonce and verifier; RFC 7636 section 7.1: at least 256 bits
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0 section 2: a subject is at most 255 ASCII characters
_MOST_GROUPS = 1_000  # our choice: values of a claim that are looked at
_ORDER = (
    *(Role.APPROVER, Role.COMPLIANCE, Role.SUPERVISOR, Role.PLATFORM),
    *(Role.EDITOR, Role.AGENT, Role.VIEWER),
)


@dataclass(frozen=True, slots=True)
class OidcSignIn:
    """How people sign in: by a provider, where one is configured, and with passwords."""

    provider: OidcProvider | None
    users: OidcUsers

    @property
    def passwords(self) -> bool:
        return self.provider is None or self.provider.settings.passwords


class OidcUsers:
    """Begins and ends sign-ins. Raises Unavailable."""

    def __init__(self, database: Database, signer: Signer) -> None:
        self._database = database
        self._signer = signer

    async def begin(self, back: str, now: datetime) -> PendingSignIn:
        """A new sign-in, which can be ended once within ten minutes; ``back`` is the page to show then."""
        state, nonce, verifier = (secrets.token_urlsafe(_BYTES) for _ in range(3))
        made = PendingSignIn(state, nonce, verifier, back)
        row = {
            "digest": self._digest(made.state),
            "nonce": made.nonce,
            "verifier": made.verifier,
            "back": back,
            "created_at": now,
        }

        def write(connection: Connection) -> None:
            old = pending_sign_ins.c.created_at <= now - _LASTS
            connection.execute(delete(pending_sign_ins).where(old))
            connection.execute(insert(pending_sign_ins), [row])

        await self._database.write(write)
        return made

    async def end(self, state: str, now: datetime) -> PendingSignIn:
        """The sign-in of this state, which is forgotten with it. Raises OidcRefused for an unknown or used one."""
        mine = pending_sign_ins.c.digest == self._digest(state)
        taken = delete(pending_sign_ins).where(mine).returning(pending_sign_ins)
        row = await self._database.write(lambda connection: connection.execute(taken).first())
        if row is None or row.created_at <= now - _LASTS:
            raise OidcRefused("oidc_stale")
        return PendingSignIn(state, row.nonce, row.verifier, row.back)

    async def user(self, settings: OidcSettings, claims: Mapping[str, Any], now: datetime) -> User:
        """The user with these claims, made or brought up to date. Raises OidcRefused.

        A person is known by issuer and subject. One who had a password here is recognised by an e-mail address that the
        provider has verified, in the same tenant.
        """
        role, tenant = _role(settings, claims), _tenant(settings, claims)
        subject, email = str(claims["sub"]), str(claims.get("email") or "").strip().lower()
        if not subject or len(subject) > _LONGEST_SUBJECT or "@" not in email or len(email) > LONGEST_EMAIL:
            raise OidcRefused("oidc_no_email")
        name = str(claims.get("name") or email).strip()[:LONGEST_NAME]
        known_as = f"{settings.issuer} {subject}"
        verified = claims.get("email_verified") is True

        def write(connection: Connection) -> User:
            values = {"tenant": tenant, "name": name, "role": role}
            row = connection.execute(select(users).where(users.c.subject == known_as)).first()
            if row is None:
                row = connection.execute(select(users).where(users.c.email == email)).first()
                if row is not None and not (verified and row.subject is None and row.tenant == tenant):
                    raise OidcRefused("oidc_email_taken")
            if row is not None:
                changed = update(users).where(users.c.id == row.id).values(**values, subject=known_as)
                row = connection.execute(changed.returning(users)).one()
            else:
                new = {"id": new_user_id(), "email": email, "password": "", "test_addresses": json.dumps({})}
                made = insert_new(connection, users).values(**values, **new, created_at=now, subject=known_as)
                row = connection.execute(made.returning(users)).first()
                if row is None:  # somebody else has it since: two windows, or two people of one address
                    raise OidcRefused("oidc_stale")
            if row.disabled_at is not None:
                raise OidcRefused("oidc_disabled")
            return user_of(row)

        return await self._database.write(write)

    def _digest(self, state: str) -> str:
        return self._signer.session_digest(state)


def _role(settings: OidcSettings, claims: Mapping[str, Any]) -> Role:
    found = {settings.roles[each] for each in _values(claims, settings.roles_claim) if each in settings.roles}
    for role in _ORDER:
        if role in found:
            return role
    raise OidcRefused("oidc_no_role")


def _tenant(settings: OidcSettings, claims: Mapping[str, Any]) -> str:
    if not settings.tenant_claim:
        return settings.tenant
    found = {settings.tenants[each] for each in _values(claims, settings.tenant_claim) if each in settings.tenants}
    if len(found) != 1:  # of none, or of more than one: it is not ours to choose
        raise OidcRefused("oidc_no_tenant")
    return found.pop()


def _values(claims: Mapping[str, Any], path: str) -> Sequence[str]:
    """The texts of a claim, which is one text or a list of them; a name may lead into objects by dots."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed[:_MOST_GROUPS] if isinstance(each, str)]
