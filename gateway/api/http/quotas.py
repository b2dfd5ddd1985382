"""Quotas: each request with an API key is charged to its tenant's and its key's limits, or answered with 429.

Owns the header fields ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11) and the member
``violated-policies`` of the problem, which that draft defines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastapi import Request

from gateway.api.http.problems import Problem
from gateway.core.quotas import Charge, QuotaState
from gateway.core.requests import FieldError
from gateway.identity.quotas import QuotaRules
from gateway.observability.metrics import Metrics
from gateway.queue.quota_buckets import QuotaBuckets

_CHARGED = "quota_charged"  # the member of the ASGI scope that keeps a request from being charged twice


class QuotaGuard:
    """Charges requests, counts refusals, and sets the header fields of the response."""

    def __init__(self, rules: QuotaRules, buckets: QuotaBuckets, metrics: Metrics) -> None:
        self._rules = rules
        self._buckets = buckets
        self._metrics = metrics

    async def charge(self, request: Request, tenant: str, key_id: str, notifications: int = 0) -> None:
        """Charge a request, once however often it is asked for. Raises Problem 429: nothing was taken."""
        if _CHARGED not in request.scope:
            request.scope[_CHARGED] = True
            await self._take(request, tenant, self._rules.charges(tenant, key_id, 1, notifications))

    async def charge_batch(self, request: Request, tenant: str, key_id: str, notifications: int) -> None:
        """Charge the items of a batch whose request was charged before its body was read.

        Raises Problem: 429, and the request is given back; 422 where the limits could never hold so many items.
        """
        charges = self._rules.charges(tenant, key_id, 0, notifications)
        most = min((each.limit.capacity for each in charges), default=notifications)
        if notifications > most:
            detail = f"has more items than your quota can ever hold; send batches of at most {most}"
            raise Problem("invalid_request", errors=[FieldError("/notifications", detail)])
        try:
            await self._take(request, tenant, charges)
        except Problem:
            await self._buckets.take(self._rules.charges(tenant, key_id, -1, 0))
            raise

    async def charge_borrower(self, request: Request, tenant: str, borrower: str) -> None:
        """Charge a request of a borrower's app; ``borrower`` is a digest. Raises Problem 429."""
        await self._take(request, tenant, self._rules.borrower_charges(tenant, borrower))

    async def give_back(self, tenant: str, key_id: str, notifications: int) -> None:
        """Give back what repeated requests took: their notifications were counted when they first came."""
        if notifications:
            await self._buckets.take(self._rules.charges(tenant, key_id, 0, -notifications))

    async def _take(self, request: Request, tenant: str, charges: Sequence[Charge]) -> None:
        states = await self._buckets.take(charges)
        if not states:
            return
        self._metrics.quota_used(tenant, states)
        headers = request.scope.setdefault("response_headers", {})
        for name, value in _fields(states).items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if refusing := [each for each in states if each.wait_seconds]:
            for each in refusing:
                self._metrics.quota_refused(each.limit.name)
            raise _exceeded(refusing)


def _fields(states: Sequence[QuotaState]) -> dict[str, str]:
    """A bucket's quota is what it holds (``q``), in the time in which it fills (``w``); ``t`` is when it is full."""
    policies = (f'"{s.limit.name}";q={s.limit.capacity};w={math.ceil(s.limit.window_seconds)}' for s in states)
    left = (f'"{s.limit.name}";r={s.remaining};t={math.ceil(s.reset_seconds)}' for s in states)
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}


def _exceeded(refusing: Sequence[QuotaState]) -> Problem:
    names = [each.limit.name for each in refusing]
    wait = math.ceil(max(each.wait_seconds for each in refusing))
    return Problem(
        "quota_exceeded",
        f"Over the limit {' and '.join(names)}. Try again after {wait} seconds, or have the operator raise it.",
        headers={"Retry-After": str(wait)},
        extra={"violated-policies": names},
    )
