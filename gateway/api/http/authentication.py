"""Who calls: API keys with scopes for case systems, signed tokens for borrowers.

Answers from a small cache, so that a request costs no SQL; a revoked key works for a few seconds more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from gateway.api.http.parts import GatewayClock, Uses, part
from gateway.api.http.problems import KINDS, Problem, unauthorized
from gateway.api.http.quotas import QuotaGuard
from gateway.core.errors import InvalidData, Unavailable
from gateway.core.requests import RejectedRequest
from gateway.core.security.signing import Signer
from gateway.identity.admin_log import ActOutcome, AdminAct, AdminLog
from gateway.identity.keys import ApiKey, Keys, Scope, split

_CACHE_SECONDS = 5.0  # our choice: how long a revoked key may go on working
# Scopes whose every use that may change something is an entry of the administrators' log.
ADMINISTRATIVE = frozenset(
    {Scope.MANAGE, Scope.TEMPLATES_EDIT, Scope.TEMPLATES_APPROVE, Scope.ADMIN, Scope.PLATFORM},
)
_SAFE = frozenset({"GET", "HEAD"})  # RFC 9110 section 9.2.1: methods that change nothing
_LONGEST_REASON = 40  # the column's width
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


async def caller(request: Request, *scopes: Scope, notifications: int = 0) -> Caller:
    """Whose key this is; the request, and its ``notifications``, are charged to the quotas of key and tenant.

    Raises Problem: 401 without a valid key or with an expired one; 403 when the key may not be used from the client's
    address (which uvicorn takes from X-Forwarded-For of the proxies that FORWARDED_ALLOW_IPS names), or has none of
    ``scopes``; 429 over a quota.
    """
    who = await _authenticated(request, notifications)
    _require(who, scopes)
    return who


async def _authenticated(request: Request, notifications: int = 0) -> Caller:
    key = await part(request, KeyRing).open(_bearer(request))
    if key is None:
        raise unauthorized("The API key is unknown or revoked.")
    if key.expired(part(request, GatewayClock)()):
        raise unauthorized(f"The API key {key.id} has expired. Make another: gateway key create.")
    if not key.allows_from(request.client.host if request.client else ""):
        raise Problem("network_not_allowed")
    await part(request, QuotaGuard).charge(request, key.tenant, key.id, notifications)
    return Caller(key.tenant, f"key:{key.id}", key)


def _require(who: Caller, scopes: Sequence[Scope]) -> None:
    if not any(who.key.may(scope) for scope in scopes):
        raise Problem("forbidden", f"The key needs the scope {' or '.join(scopes)}.")


def needs(*scopes: Scope, reads_words: bool = False) -> Callable[[Request], AsyncIterator[Caller]]:
    """A dependency that returns the caller, who has one of ``scopes``. Raises Problem: 401 and 403, see ``caller``.

    This is the one place where the API's part of the administrators' log is written: each request by a scope of
    ``ADMINISTRATIVE`` that may change something, and with ``reads_words`` each request that shows what a borrower
    wrote or was told. The entry is committed before the route runs; a refusal or failure has a second one.
    """
    administrative = not ADMINISTRATIVE.isdisjoint(scopes)

    async def dependency(request: Request) -> AsyncIterator[Caller]:
        who = await _authenticated(request)
        if not (reads_words or (administrative and request.method not in _SAFE)):
            _require(who, scopes)
            yield who
            return
        act = AdminAct(
            who.tenant,
            who.actor,
            f"{request.method} {request.scope['route'].path_format}",
            {name: str(value) for name, value in request.path_params.items()},
            str(request.scope["request_id"]),
        )
        async with recorded(part(request, AdminLog), act, lambda: _require(who, scopes)):
            yield who

    return dependency


@asynccontextmanager
async def recorded(log: AdminLog, act: AdminAct, check: Callable[[], None]) -> AsyncIterator[None]:
    """Record an act when ``check`` lets it pass, and how it ended where it was not done.

    Raises: what ``check`` and the block raise; Unavailable where the entry can't be written, and the block is not run.
    """
    try:
        check()
    except Problem as refused:
        await log.record_denied(act, refused.kind)
        raise
    await log.record(act)
    try:
        yield
    except Exception as error:
        outcome = ActOutcome.REFUSED if _is_refusal(error) else ActOutcome.FAILED
        reason = error.kind if isinstance(error, Problem) else _snake(type(error).__name__)
        with suppress(Unavailable):  # the caller gets the error that was there first
            await log.record(act.ended(outcome, reason))
        raise


def _is_refusal(error: Exception) -> bool:
    """Whether the request was at fault, and not the gateway."""
    if isinstance(error, Problem):
        return KINDS[error.kind].status < 500
    return isinstance(error, (InvalidData, RejectedRequest, RequestValidationError))


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")[:_LONGEST_REASON]


Reading = Annotated[Caller, Depends(needs(Scope.READ))]
ReadingWords = Annotated[Caller, Depends(needs(Scope.READ, reads_words=True))]
ReadingMessages = Annotated[Caller, Depends(needs(Scope.WORDS, reads_words=True))]
Sending = Annotated[Caller, Depends(needs(Scope.SEND))]
Managing = Annotated[Caller, Depends(needs(Scope.MANAGE))]


async def reader(request: Request, signer: Uses[Signer], clock: Uses[GatewayClock]) -> Reader:
    """A dependency that returns whose feed may be read. Raises Problem: 401, and 429 over the borrower's quota."""
    opened = signer.open_borrower_token(_bearer(request), clock())
    if opened is None:
        raise unauthorized("The borrower token is not valid, or not any more.")
    await part(request, QuotaGuard).charge_borrower(request, opened[0], signer.topics(*opened)[0])
    return Reader(*opened)
