"""How messages go out: the channels, and the configured providers; without any, simulators in a child process."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from channels import registry
from channels.base import Channel, Provider
from gateway.app.embedded import simulated_providers
from gateway.app.embedded.errors import CannotStart
from gateway.app.embedded.simulated_providers import SimulatedProviders
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts
from gateway.borrowers.inbox import Inbox
from gateway.core.clock import Clock
from gateway.queue.subscriptions import FeedNotifier
from gateway.queue.token_buckets import Rate
from gateway.stages.route import ProviderRouter

_SIMULATED_ACCOUNT = "AC" + "0" * 32  # the shape of a Twilio account; only the simulator knows it

# The simulator answers within milliseconds, or on purpose never: waiting longer for it teaches nothing.
SIMULATED_SECONDS = 2.0
# When "not there" counts: a request may still be stored after it was given up.
SIMULATED_SETTLE_SECONDS = 2 * SIMULATED_SECONDS


@dataclass(frozen=True, slots=True)
class Providers:
    """How messages go out. ``world`` is the process of the simulators, None where providers are configured."""

    channels: Mapping[str, Channel]
    providers: Mapping[str, Provider]
    router: ProviderRouter
    rates: Mapping[str, Rate]
    inbox: Inbox
    world: SimulatedProviders | None


async def open_ways(stack: AsyncExitStack, ledger: LedgerParts, wakeups: FeedNotifier) -> Providers:
    """Channels and providers, until the stack is left. Raises CannotStart."""
    channels = registry.discover()
    inbox = Inbox(ledger.database, ledger.clock, wakeups.publish)
    entries, outside = await _entries(stack, ledger.settings, ledger.clock)
    services = {"clock": ledger.clock, "inbox": inbox}
    providers: dict[str, Provider] = {}
    for each in entries:
        provider = providers[str(each["name"])] = build_provider(channels, each, services)
        stack.push_async_callback(provider.close)
    router = ProviderRouter(providers, {str(each["name"]): float(each.get("weight", 1)) for each in entries})
    return Providers(channels, providers, router, _rates(entries), inbox, outside)


async def _entries(
    stack: AsyncExitStack, settings: Settings, clock: Clock
) -> tuple[Sequence[Mapping[str, Any]], SimulatedProviders | None]:
    """The configured providers; without any, simulators in a child process, embedded mode only."""
    feed = {"channel": "inapp", "kind": "feed", "name": "feed", "options": {}}
    if settings.providers:
        configured = list(settings.providers)
        return configured if any(each["channel"] == "inapp" for each in configured) else [*configured, feed], None
    if not settings.embedded:
        raise CannotStart("no providers are configured: set GATEWAY_PROVIDERS (see ops/operating.md)")
    outside, simulated = await _simulators(stack, settings, clock)
    return [*simulated, feed], outside


async def _simulators(
    stack: AsyncExitStack, settings: Settings, clock: Clock
) -> tuple[SimulatedProviders, Sequence[Mapping[str, Any]]]:
    """The simulators' process, and the entries of the providers that talk to it."""
    sms_token, mail_token = secrets.token_hex(16), secrets.token_hex(16)
    offset = (clock() - datetime.now(UTC)).total_seconds()
    outside = await simulated_providers.start(
        [
            *("--account-sid", _SIMULATED_ACCOUNT, "--token-env", "SIMULATED_SMS_TOKEN"),
            *("--dsn-url", f"{settings.effective_public_url}/v1/receipts/mail-sink"),
            *("--dsn-token-env", "SIMULATED_MAIL_TOKEN"),
            *("--slow-ms", str(1000 * SIMULATED_SECONDS)),
            # In one word and without an exponent: a small negative number would be taken for an option.
            *(f"--clock-offset={offset:.6f}", "--state-dir", str(settings.data_dir / "simulation")),
        ],
        {"SIMULATED_SMS_TOKEN": sms_token, "SIMULATED_MAIL_TOKEN": mail_token},
        settings.data_dir / "simulation.log",
    )
    stack.push_async_callback(outside.stop)
    sms = {
        "account_sid": _SIMULATED_ACCOUNT,
        "auth_token": sms_token,
        "from_number": "+15005550006",  # Twilio's test number for "from"
        "base_url": f"http://127.0.0.1:{outside.sms_port}",
        "timeout_seconds": SIMULATED_SECONDS,
        "lookup_settle_seconds": SIMULATED_SETTLE_SECONDS,
    }
    mail = {
        "host": "127.0.0.1",
        "port": outside.smtp_port,
        "tls": "none",
        "domain": "gateway.example.com",
        "from_address": "reminders@gateway.example.com",
        "callback_token": mail_token,
    }
    return outside, [
        {"channel": "sms", "kind": "twilio", "name": "sms-simulator", "options": sms},
        {"channel": "email", "kind": "smtp", "name": "mail-sink", "options": mail},
    ]


def build_provider(channels: Mapping[str, Channel], entry: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
    """The provider that an entry of the settings describes. Raises CannotStart with what is wrong."""
    name, channel = str(entry["name"]), channels.get(str(entry["channel"]))
    if channel is None:
        raise CannotStart(f"provider {name}: there is no channel {entry['channel']!r}; installed: {list(channels)}")
    try:
        return channel.build(str(entry["kind"]), name, entry.get("options", {}), services)
    except ValueError as error:
        raise CannotStart(f"provider {name}: {error}") from error


def _rates(entries: Sequence[Mapping[str, Any]]) -> dict[str, Rate]:
    """The configured rates: ``"rate_per_second": 100, "burst": 100`` beside a provider's options."""
    return {
        str(entry["name"]): Rate(float(entry["rate_per_second"]), int(entry.get("burst", entry["rate_per_second"])))
        for entry in entries
        if entry.get("rate_per_second")
    }
