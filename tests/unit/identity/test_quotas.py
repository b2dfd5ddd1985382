"""Which limits a request is charged to."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.app.settings import Settings
from gateway.core.quotas import QuotaName
from gateway.identity.quotas import DEFAULT, QuotaRules, TenantQuota


def limits(configured: dict[str, object], tenant: str = "acme", notifications: int = 1) -> dict[str, tuple[int, float]]:
    """Capacity and rate of each limit that a request of one notification falls under."""
    rules = QuotaRules({name: TenantQuota.model_validate(given) for name, given in configured.items()})
    charges = rules.charges(tenant, "k1", 1, notifications)
    return {each.limit.name: (each.limit.capacity, each.limit.per_second) for each in charges}


def test_the_default_limits_rates_of_tenants_alone() -> None:
    """Nothing configured: a tenant has the default's two rates, its keys and its day have no limit."""
    assert set(limits({})) == {QuotaName.TENANT_REQUESTS, QuotaName.TENANT_NOTIFICATIONS}
    assert DEFAULT.requests_per_second == 3_000


def test_a_tenant_overrides_the_default_field_by_field() -> None:
    """What a tenant leaves out comes from the entry "", and what that leaves out from the built-in default."""
    configured: dict[str, object] = {
        "": {"notifications_per_second": 20, "burst_seconds": 2, "key": {"requests_per_second": 3}},
        "acme": {"requests_per_second": 10, "key": {"notifications_per_day": 7}},
    }
    assert limits(configured) == {
        QuotaName.TENANT_REQUESTS: (20, 10),
        QuotaName.KEY_REQUESTS: (6, 3),
        QuotaName.TENANT_NOTIFICATIONS: (40, 20),
        QuotaName.KEY_DAY: (7, 0),
    }
    assert limits(configured, "other")[QuotaName.TENANT_REQUESTS] == (6_000, 3_000)


def test_zero_means_no_limit() -> None:
    """A tenant without any limit is charged nothing."""
    assert limits({"acme": {"requests_per_second": 0, "notifications_per_second": 0}}) == {}


def test_a_slow_rate_holds_at_least_one() -> None:
    """A tenth of a request a second lets one pass every ten seconds, and not none for ever."""
    assert limits({"acme": {"requests_per_second": 0.1, "notifications_per_second": 0}}, notifications=0) == {
        QuotaName.TENANT_REQUESTS: (1, 0.1)
    }


def test_a_borrowers_app_has_a_rate_of_its_own() -> None:
    """The tenant's, else the entry "", else the default; 0 means no limit."""
    given = {"acme": {"borrower_requests_per_second": 2}, "free": {"borrower_requests_per_second": 0}, "other": {}}
    rules = QuotaRules({name: TenantQuota.model_validate(each) for name, each in given.items()})
    found = [rules.borrower_charges(tenant, "digest") for tenant in ("acme", "free", "other", "unnamed")]
    assert [[each.limit.per_second for each in charges] for charges in found] == [[2], [], [50], [50]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"acme": {"requests_per_minute": 5}},
        {"acme": {"requests_per_second": -1}},
        {"acme": {"requests_per_second": float("nan")}},
        {"acme": {"burst_seconds": 0}},
        {"acme": {"notifications_per_day": 1.5}},
        {"acme": {"key": {"key": {}}}},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    """A misspelt or senseless limit stops the start: it would protect nothing."""
    with pytest.raises(ValidationError):
        Settings.model_validate({"quotas": wrong})
