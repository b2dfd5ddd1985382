"""Who calls: API keys with scopes for case systems, signed tokens for borrowers.

Answers from a small cache, so that a request costs no SQL; a revoked key works for a few seconds more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gateway.api.http.parts import GatewayClock, Uses, part
from gateway.api.http.problems import Problem, unauthorized
from gateway.core.signing import Signer
from gateway.identity.keys import ApiKey, Keys, Scope, split

_CACHE_SECONDS = 5.0  # our choice: how long a revoked key may go on working
_CACHE_SIZE = 10_000  # made-up ids end up here as well, so there must be an end to it


@dataclass(frozen=True, slots=True)
class Caller:
    """A case system that has proved who it is. ``actor`` is how it appears in events."""

    tenant: str
    actor: str
    key: ApiKey

    def require(self, scope: Scope) -> None:
        """Raises Problem 403 where the key lacks ``scope``."""
        if not self.key.may(scope):
            raise Problem("forbidden", f"The key needs the scope {scope}.")


@dataclass(frozen=True, slots=True)
class Reader:
    """A borrower's app."""

    tenant: str
    borrower_id: str


class KeyRing:
    """API keys as last seen in the ledger."""

    def __init__(self, keys: Keys, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._elapsed = elapsed
        self._seen: dict[str, tuple[float, ApiKey | None]] = {}
        # A key is asked for once, however many requests come by it: a process that is behind would ask for each of
        # them, and its few connections to the ledger would do nothing else.
        self._asking: dict[str, asyncio.Future[ApiKey | None]] = {}

    async def open(self, text: str) -> ApiKey | None:
        """The key that ``text`` is, or None. Raises Unavailable."""
        parts = split(text)
        if parts is None:
            return None
        key = await self._find(parts[0])
        if key is None or key.revoked_at is not None or not self._keys.matches(key, parts[1]):
            return None
        return key

    async def _find(self, key_id: str) -> ApiKey | None:
        now = self._elapsed()
        found = self._seen.get(key_id)
        if found is not None and found[0] > now:
            return found[1]
        asking = self._asking.get(key_id)
        if asking is None:
            asking = self._asking[key_id] = asyncio.ensure_future(self._ask(key_id))
            asking.add_done_callback(lambda _: self._asking.pop(key_id, None))
        return await asyncio.shield(asking)  # who leaves takes the answer from nobody else

    async def _ask(self, key_id: str) -> ApiKey | None:
        now, key = self._elapsed(), await self._keys.find(key_id)
        if len(self._seen) >= _CACHE_SIZE:
            self._seen.clear()
        self._seen[key_id] = (now + _CACHE_SECONDS, key)
        return key


def _bearer(request: Request) -> str:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credentials.strip():
        raise unauthorized()
    return credentials.strip()


async def caller(request: Request, *scopes: Scope) -> Caller:
    """Whose key this is. Raises Problem: 401 without a valid key, 403 when the key has none of ``scopes``."""
    key = await part(request, KeyRing).open(_bearer(request))
    if key is None:
        raise unauthorized("The API key is unknown or revoked.")
    if not any(key.may(scope) for scope in scopes):
        raise Problem("forbidden", f"The key needs the scope {' or '.join(scopes)}.")
    return Caller(key.tenant, f"key:{key.id}", key)


def needs(*scopes: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that returns the caller. Raises Problem: 401 and 403, see ``caller``."""

    async def dependency(request: Request) -> Caller:
        return await caller(request, *scopes)

    return dependency


Reading = Annotated[Caller, Depends(needs(Scope.READ))]
Sending = Annotated[Caller, Depends(needs(Scope.SEND))]
Managing = Annotated[Caller, Depends(needs(Scope.MANAGE))]


async def reader(request: Request, signer: Uses[Signer], clock: Uses[GatewayClock]) -> Reader:
    """A dependency that returns whose feed may be read. Raises Problem 401."""
    opened = signer.open_borrower_token(_bearer(request), clock())
    if opened is None:
        raise unauthorized("The borrower token is not valid, or not any more.")
    return Reader(*opened)
