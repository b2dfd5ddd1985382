"""The services that the HTTP routes use, each found by its class."""

from __future__ import annotations

from gateway.api.http.parts import ConfiguredChannels, GatewayClock, HttpSettings, Parts
from gateway.app.app import Gateway


def http_parts(gateway: Gateway) -> Parts:
    """One instance of each class that a route may name with ``Uses``."""
    settings = gateway.settings
    return Parts(
        HttpSettings(settings.effective_public_url, settings.max_body_bytes, settings.test_addresses),
        GatewayClock(gateway.clock),
        ConfiguredChannels(gateway.channels, gateway.providers),
        gateway.admin_log,
        gateway.attempts,
        gateway.database,
        gateway.dead_letters,
        gateway.editing,
        gateway.forecaster,
        gateway.frames,
        gateway.inbox,
        gateway.keys,
        gateway.metrics,
        gateway.packs,
        gateway.people,
        gateway.pipeline,
        gateway.reads,
        gateway.readiness,
        gateway.reviews,
        gateway.sessions,
        gateway.signer,
        gateway.store,
        gateway.switches,
        gateway.transfer,
        gateway.users,
        gateway.wakeups,
        gateway.webhook_endpoints,
        gateway.webhook_guard,
    )
