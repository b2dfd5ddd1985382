"""Quota limits as values: what identity configures, the queue counts, and the API answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class QuotaName(StrEnum):
    """The limits: a policy name in RateLimit header fields, a metric label and a part of the Redis key at once."""

    TENANT_REQUESTS = "tenant_requests_per_second"
    TENANT_NOTIFICATIONS = "tenant_notifications_per_second"
    TENANT_DAY = "tenant_notifications_per_day"
    KEY_REQUESTS = "key_requests_per_second"
    KEY_NOTIFICATIONS = "key_notifications_per_second"
    KEY_DAY = "key_notifications_per_day"
    BORROWER_REQUESTS = "borrower_requests_per_second"


TENANT_QUOTAS = (QuotaName.TENANT_REQUESTS, QuotaName.TENANT_NOTIFICATIONS, QuotaName.TENANT_DAY)


@dataclass(frozen=True, slots=True)
class QuotaLimit:
    """A limit of one owner: a tenant's name, an API key's id, or a keyed digest that stands for a borrower.

    A token bucket of ``capacity`` tokens that gains ``per_second``; with ``per_second`` 0, a count of ``capacity`` for
    each day, which begins at midnight UTC.
    """

    name: QuotaName
    owner: str
    capacity: int
    per_second: float

    @property
    def window_seconds(self) -> float:
        """The time in which an empty limit is full again."""
        return self.capacity / self.per_second if self.per_second else 86_400.0


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request takes from a limit; below zero, what is given back to it."""

    limit: QuotaLimit
    wanted: int


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A limit after a request. ``wait_seconds`` is above 0 where this limit refused it: then there is room."""

    limit: QuotaLimit
    remaining: int
    wait_seconds: float
    reset_seconds: float  # until the limit is full again
