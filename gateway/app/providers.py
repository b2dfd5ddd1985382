"""Builds the channels and the configured providers; without any, starts simulators in a child process."""

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

_SIMULATED_SENDER = "111111111111111"  # of WhatsApp, in the form of Meta's ids; valid at the simulator only
_SIMULATED_ACCOUNT = "AC" + "0" * 32  # has the form of a Twilio account id; valid at the simulator only

# The simulator answers within milliseconds, or deliberately never: a longer time-out would find nothing more.
SIMULATED_SECONDS = 2.0
# After this time "not found" is final: the simulator may still store a request whose call has timed out.
SIMULATED_SETTLE_SECONDS = 2 * SIMULATED_SECONDS


@dataclass(frozen=True, slots=True)
class Providers:
    """The channels, and the providers by name. ``simulators`` is None where providers are configured."""

    channels: Mapping[str, Channel]
    by_name: Mapping[str, Provider]
    router: ProviderRouter
    rates: Mapping[str, Rate]
    inbox: Inbox
    simulators: SimulatedProviders | None


async def open_providers(stack: AsyncExitStack, ledger: LedgerParts, feed_notifier: FeedNotifier) -> Providers:
    """Build channels and providers, and register their closing on the stack. Raises CannotStart."""
    channels = registry.discover()
    inbox = Inbox(ledger.database, ledger.clock, feed_notifier.publish)
    entries, simulators = await _entries(stack, ledger.settings, ledger.clock)
    services = {"clock": ledger.clock, "inbox": inbox}
    providers: dict[str, Provider] = {}
    for each in entries:
        provider = providers[str(each["name"])] = build_provider(channels, each, services)
        stack.push_async_callback(provider.close)
    router = ProviderRouter(providers, {str(each["name"]): float(each.get("weight", 1)) for each in entries})
    return Providers(channels, providers, router, _rates(entries), inbox, simulators)


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
    simulators, simulated = await _simulators(stack, settings, clock)
    return [*simulated, feed], simulators


async def _simulators(
    stack: AsyncExitStack, settings: Settings, clock: Clock
) -> tuple[SimulatedProviders, Sequence[Mapping[str, Any]]]:
    """Start the simulators' process; returns it with the entries of the providers that call it."""
    sms_token, mail_token, social_secret = (secrets.token_hex(16) for _ in range(3))
    receipts_url = f"{settings.effective_public_url}/v1/receipts"
    offset = (clock() - datetime.now(UTC)).total_seconds()
    simulators = await simulated_providers.start(
        [
            *("--account-sid", _SIMULATED_ACCOUNT, "--token-env", "SIMULATED_SMS_TOKEN"),
            *("--dsn-url", f"{receipts_url}/mail-sink", "--dsn-token-env", "SIMULATED_MAIL_TOKEN"),
            *("--receipts-url", receipts_url, "--social-secret-env", "SIMULATED_SOCIAL_SECRET"),
            *("--whatsapp-sender", _SIMULATED_SENDER),
            *("--slow-ms", str(1000 * SIMULATED_SECONDS)),
            # As ``--name=value`` and without an exponent: argparse takes a separate negative number for an option.
            *(f"--clock-offset={offset:.6f}", "--state-dir", str(settings.data_dir / "simulation")),
        ],
        {
            "SIMULATED_SMS_TOKEN": sms_token,
            "SIMULATED_MAIL_TOKEN": mail_token,
            "SIMULATED_SOCIAL_SECRET": social_secret,
        },
        settings.data_dir / "simulation.log",
    )
    stack.push_async_callback(simulators.stop)
    sms = {
        "account_sid": _SIMULATED_ACCOUNT,
        "auth_token": sms_token,
        "from_number": "+15005550006",  # Twilio's test number for "from"
        "base_url": f"http://127.0.0.1:{simulators.sms_port}",
        "timeout_seconds": SIMULATED_SECONDS,
        "lookup_settle_seconds": SIMULATED_SETTLE_SECONDS,
    }
    mail = {
        "host": "127.0.0.1",
        "port": simulators.smtp_port,
        "tls": "none",
        "domain": "gateway.example.com",
        "from_address": "reminders@gateway.example.com",
        "callback_token": mail_token,
    }
    return simulators, [
        {"channel": "sms", "kind": "twilio", "name": "sms-simulator", "options": sms},
        {"channel": "email", "kind": "smtp", "name": "mail-sink", "options": mail},
        *_social_entries(simulators, social_secret),
    ]


def _social_entries(simulators: SimulatedProviders, secret: str) -> list[Mapping[str, Any]]:
    """WhatsApp at Meta, and LINE. The simulators take one secret as token and as the key of signatures."""
    whatsapp = {
        "phone_number_id": _SIMULATED_SENDER,
        "business_account_id": _SIMULATED_SENDER,
        "access_token": secret,
        "app_secret": secret,
        "verify_token": secret,
    }
    line = {"channel_access_token": secret, "channel_secret": secret}
    options = {"whatsapp": ("cloud", whatsapp), "line": ("messaging", line)}
    return [
        {
            "channel": channel,
            "kind": options[channel][0],
            "name": f"{channel}-simulator",
            "options": {
                **options[channel][1],
                "base_url": f"http://127.0.0.1:{port}",
                "timeout_seconds": SIMULATED_SECONDS,
            },
        }
        for channel, port in simulators.social_ports.items()
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
