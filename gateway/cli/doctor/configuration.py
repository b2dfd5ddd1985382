"""Checks the settings: misspelt, unsafe or missing ones. Pure functions."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.api.requests.notifications import MOST_IN_BATCH
from gateway.app.settings import Settings
from gateway.cli.doctor.finding import CheckResult, error, ok, warning
from gateway.core.security.signing import read_keys
from gateway.identity.quotas import QuotaRules

_FROM_FILES = ("secret_key", "database_url", "redis_url", "providers", "oidc")
# Variables that commands and scripts read besides the settings.
_OTHERS = frozenset(
    {"GATEWAY_URL", "GATEWAY_API_KEY", "GATEWAY_VENV", "GATEWAY_VALKEY_SERVER", "GATEWAY_TEST_POSTGRESQL"}
)
_SHORTEST_SECRET = 32  # characters: openssl rand -hex 32 gives 64; RFC 2104 section 3 wants the hash's length in bytes
_FEWEST_SIGNS = 8  # a repeated word has fewer different characters
_PUBLIC_URL = "public_url"


def check(settings: Settings, environment: Mapping[str, str]) -> list[CheckResult]:
    """Problems of the settings and of the environment variables."""
    found = [*_names(environment), *_shape(settings), *_secret(settings), *_public_url(settings), *_lender(settings)]
    found += _quotas(settings)
    return [*(found or [ok("configuration", "the settings make sense")]), _quotas_in_force(settings)]


def _names(environment: Mapping[str, str]) -> list[CheckResult]:
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | _OTHERS
    known |= {f"GATEWAY_{name.upper()}_FILE" for name in _FROM_FILES}
    found = []
    for name in sorted(environment):
        # Kubernetes sets variables for a service named "gateway" in every container.
        service = name.startswith(("GATEWAY_SERVICE_", "GATEWAY_PORT_"))
        if name.startswith("GATEWAY_") and name not in known and not service:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else "unset it: nothing reads it"
            found.append(warning("configuration.names", f"{name} is no setting", remedy))
    return found


def _shape(settings: Settings) -> list[CheckResult]:
    found = []
    if bool(settings.database_url) != bool(settings.redis_url):
        missing = "GATEWAY_REDIS_URL" if settings.database_url else "GATEWAY_DATABASE_URL"
        what = "one of ledger and Redis is embedded, the other is not: only one process can run like this"
        found.append(error("configuration.shape", what, f"set {missing}"))
    if not settings.embedded and not settings.providers:
        what = "no providers are configured, so nothing can be sent"
        found.append(error("configuration.providers", what, "set GATEWAY_PROVIDERS or GATEWAY_PROVIDERS_FILE"))
    return found


def _secret(settings: Settings) -> list[CheckResult]:
    secret = settings.secret_key.get_secret_value()
    make = "make one with: openssl rand -hex 32; the same for all processes"
    if not secret:
        if settings.embedded:
            return []
        what = "GATEWAY_SECRET_KEY is not set, so every machine makes its own and refuses the others' references"
        return [error("configuration.secret", what, make)]
    try:
        keys = read_keys(secret.encode())
    except ValueError as wrong:
        return [error("configuration.secret", str(wrong), "see Keys in ops/deploy/README.md")]
    for key in {*keys.signing, *keys.digests}:
        if len(key) < _SHORTEST_SECRET or len(set(key)) < _FEWEST_SIGNS:
            what = f"GATEWAY_SECRET_KEY is weak: a key of {len(key)} characters, {len(set(key))} different ones"
            return [error("configuration.secret", what, f"{make}. See Keys in ops/deploy/README.md")]
    return []


def _public_url(settings: Settings) -> list[CheckResult]:
    if settings.embedded:
        return []
    address = f"configuration.{_PUBLIC_URL}"
    remedy = "set GATEWAY_PUBLIC_URL to the https:// address under which providers and borrowers reach this gateway"
    if not settings.public_url:
        return [error(address, "GATEWAY_PUBLIC_URL is not set: callbacks and unsubscribe links lead nowhere", remedy)]
    parts = urlsplit(settings.public_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [error(address, "GATEWAY_PUBLIC_URL is no http address", remedy)]
    if parts.query or parts.fragment:
        return [error(address, "GATEWAY_PUBLIC_URL has a query or a fragment", "leave scheme, host and path only")]
    if parts.scheme == "http":
        what = "callbacks come over http, readable and forgeable on the way"
        return [warning(address, what, remedy) if _is_private(parts.hostname) else error(address, what, remedy)]
    return []


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or "." not in host


def _quotas(settings: Settings) -> list[CheckResult]:
    """Limits that refuse what the API takes otherwise, or that can never be reached."""
    found, rules = [], QuotaRules(settings.quotas)
    for name in settings.quotas:
        tenant, key = rules.of(name)
        who = f"GATEWAY_QUOTAS[{name!r}]" + ("" if name else ", the default")
        largest = rules.largest_batch(name)
        if largest < MOST_IN_BATCH:
            what = f"{who}: batches of more than {largest} never pass, though the API takes {MOST_IN_BATCH}"
            remedy = "raise burst_seconds or the limit, or have the case system send smaller batches"
            found.append(warning("configuration.quotas", what, remedy))
        for limit in ("requests_per_second", "notifications_per_second", "notifications_per_day"):
            most, each = getattr(tenant, limit), getattr(key, limit)
            if most and each and each > most:
                what = f"{who}: a key's {limit} is above its tenant's, and is never reached"
                found.append(warning("configuration.quotas", what, f"lower key.{limit}, or leave it out"))
    return found


def _quotas_in_force(settings: Settings) -> CheckResult:
    """What a tenant may ask that has no quota of its own, and which tenants have one."""
    default, _ = QuotaRules(settings.quotas).of("")
    figures = {
        "requests a second": default.requests_per_second,
        "notifications a second": default.notifications_per_second,
        "notifications a day": default.notifications_per_day,
    }
    limits = ", ".join(f"{number:,g} {name}" if number else f"no limit of {name}" for name, number in figures.items())
    own = ", ".join(sorted(filter(None, settings.quotas))) or "no tenant"
    return ok("configuration.quotas", f"each tenant has {limits}; {own} has limits of its own")


def _lender(settings: Settings) -> list[CheckResult]:
    if settings.embedded:
        return []
    defaults = {
        name: Settings.model_fields[name].default for name in ("lender_name", "lender_phone", "lender_help_url")
    }
    unset = [f"GATEWAY_{name.upper()}" for name, value in defaults.items() if getattr(settings, name) == value]
    if not unset:
        return []
    what = f"borrowers would read an example instead of the lender: {', '.join(unset)} not set"
    return [error("configuration.lender", what, "set them to what a letter from you would say")]
