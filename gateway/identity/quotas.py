"""Quotas of tenants and of their API keys: which limits a request is charged to. Pure; counts nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.quotas import Charge, QuotaLimit, QuotaName

# How many seconds' worth of its rate a bucket holds, for clients that send in bunches; our choice.
BURST_SECONDS = 5.0
_HIGHEST_RATE = 1_000_000  # far above any machine, and exact as a float; our choice
_CACHED_OWNERS = 10_000  # pairs of tenant and key whose limits are kept at hand; our choice


class Quota(BaseModel):
    """The limits of one owner. What is left out comes from the default; 0 means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    requests_per_second: float | None = Field(None, ge=0, le=_HIGHEST_RATE)
    notifications_per_second: float | None = Field(None, ge=0, le=_HIGHEST_RATE)
    notifications_per_day: int | None = Field(None, ge=0, le=10**12)
    burst_seconds: float | None = Field(None, ge=1, le=86_400)

    def over(self, default: Quota) -> Quota:
        """This quota, with what it leaves out from ``default``."""
        return Quota(**{name: _given(getattr(self, name), getattr(default, name)) for name in Quota.model_fields})


class TenantQuota(Quota):
    """A tenant's limits, those of each of its API keys, and the rate at which each borrower's app may ask."""

    key: Quota = Quota()
    borrower_requests_per_second: float | None = Field(None, ge=0, le=_HIGHEST_RATE)


# Protects the whole from one tenant: four times the most that one process accepted (ops/bench/results: 731 requests and
# 1,350 notifications a second), rounded. A single process is never refused by it; a tenant can't fill many. Keys and
# days have no limit unless one is set. A borrower's app asks some times when it is opened. Our choice.
DEFAULT = TenantQuota(
    requests_per_second=3_000,
    notifications_per_second=5_000,
    burst_seconds=BURST_SECONDS,
    borrower_requests_per_second=50,
)


class QuotaRules:
    """The configured quotas; the entry "" is the default of tenants that have none of their own."""

    def __init__(self, configured: Mapping[str, TenantQuota]) -> None:
        self._configured = configured
        self._limits = lru_cache(_CACHED_OWNERS)(self._find_limits)
        self._borrower_rate = lru_cache(_CACHED_OWNERS)(self._find_borrower_rate)

    def of(self, tenant: str) -> tuple[Quota, Quota]:
        """The limits of a tenant, and those of each of its keys."""
        general, own = self._configured.get("", TenantQuota()), self._configured.get(tenant, TenantQuota())
        of_tenant = own.over(general).over(DEFAULT)
        return of_tenant, own.key.over(general.key).over(Quota(burst_seconds=of_tenant.burst_seconds))

    def charges(self, tenant: str, key_id: str, requests: int, notifications: int) -> list[Charge]:
        """What a request takes from each limit that it falls under."""
        by_requests, by_notifications = self._limits(tenant, key_id)
        found = [Charge(each, requests) for each in by_requests] if requests else []
        return found + [Charge(each, notifications) for each in by_notifications] if notifications else found

    def borrower_charges(self, tenant: str, borrower: str) -> list[Charge]:
        """What a request of a borrower's app takes. ``borrower`` is a digest: it becomes part of a key in Redis."""
        rate = self._borrower_rate(tenant)
        limits = _bucket(QuotaName.BORROWER_REQUESTS, borrower, rate, Quota())
        return [Charge(each, 1) for each in limits]

    def _find_borrower_rate(self, tenant: str) -> float | None:
        known = (self._configured[name] for name in (tenant, "") if name in self._configured)
        given = (each.borrower_requests_per_second for each in known)
        return next((each for each in given if each is not None), DEFAULT.borrower_requests_per_second)

    def largest_batch(self, tenant: str) -> float:
        """How many notifications can pass together at most; infinite without a limit of notifications."""
        _, by_notifications = self._limits(tenant, "")
        return min((each.capacity for each in by_notifications), default=math.inf)

    def _find_limits(self, tenant: str, key_id: str) -> tuple[tuple[QuotaLimit, ...], tuple[QuotaLimit, ...]]:
        """The limits that count requests, and those that count notifications."""
        of_tenant, of_key = self.of(tenant)
        by_requests = (
            *_bucket(QuotaName.TENANT_REQUESTS, tenant, of_tenant.requests_per_second, of_tenant),
            *_bucket(QuotaName.KEY_REQUESTS, key_id, of_key.requests_per_second, of_key),
        )
        by_notifications = (
            *_bucket(QuotaName.TENANT_NOTIFICATIONS, tenant, of_tenant.notifications_per_second, of_tenant),
            *_day(QuotaName.TENANT_DAY, tenant, of_tenant),
            *_bucket(QuotaName.KEY_NOTIFICATIONS, key_id, of_key.notifications_per_second, of_key),
            *_day(QuotaName.KEY_DAY, key_id, of_key),
        )
        return by_requests, by_notifications


def capacity(rate: float, quota: Quota) -> int:
    """Tokens that a bucket of this rate holds: at least one, or nothing could ever pass."""
    return max(1, int(rate * (quota.burst_seconds or BURST_SECONDS)))


def _bucket(name: QuotaName, owner: str, rate: float | None, quota: Quota) -> tuple[QuotaLimit, ...]:
    return (QuotaLimit(name, owner, capacity(rate, quota), rate),) if rate else ()


def _day(name: QuotaName, owner: str, quota: Quota) -> tuple[QuotaLimit, ...]:
    return (QuotaLimit(name, owner, quota.notifications_per_day, 0.0),) if quota.notifications_per_day else ()


def _given(own: float | None, default: float | None) -> float | None:
    return default if own is None else own
