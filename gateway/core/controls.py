"""Operators' controls: pauses (kill switches) and pins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.core.notifications import Notification


class SwitchKind(StrEnum):
    """What an operator can do to the path while it runs: pause it, or pin a channel to a provider."""

    PAUSE = "pause"  # nothing in its scope is handed over
    PIN = "pin"  # a channel's messages go to this provider, whatever its weight and health


class SwitchScope(StrEnum):
    """What a switch applies to."""

    ALL = "all"
    TENANT = "tenant"
    TEMPLATE = "template"
    CHANNEL = "channel"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Switch:
    """A pause (kill switch) or a pin. ``tenant`` "" means every tenant; ``until`` None: until an operator ends it."""

    id: str
    kind: SwitchKind
    scope: SwitchScope
    value: str
    tenant: str
    reason: str
    actor: str
    since: datetime
    until: datetime | None = None

    def concerns(self, tenant: str) -> bool:
        """Whether it may hold up a message of this tenant, so that the tenant is shown it."""
        if self.scope is SwitchScope.TENANT:
            return self.value == tenant
        return self.tenant in ("", tenant)

    def pins(self, notification: Notification) -> bool:
        """Whether this message is to go by the provider that ``value`` names."""
        return self.kind is SwitchKind.PIN and self.tenant in ("", notification.tenant)

    def stops(self, notification: Notification, channel: str, provider: str) -> bool:
        """Whether this message must not be handed to this provider now."""
        if self.kind is not SwitchKind.PAUSE or self.tenant not in ("", notification.tenant):
            return False
        named = {
            SwitchScope.ALL: self.value,
            SwitchScope.TENANT: notification.tenant,
            SwitchScope.TEMPLATE: notification.template,
            SwitchScope.CHANNEL: channel,
            SwitchScope.PROVIDER: provider,
        }
        return named[self.scope] == self.value
