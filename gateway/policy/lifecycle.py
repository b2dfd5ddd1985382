"""The notification's own limits: not before it is wanted, not after it expires, not once its case is closed, and
only through a provider that takes such messages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from gateway.model import PolicyReason, RuleResult
from gateway.policy.rule import Intent, Origin, Rule, Source


class SendAtRule(Rule):
    """A message asked for later is not sent sooner."""

    __slots__ = ()

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        send_at = intent.notification.send_at
        if send_at is None:
            return None
        return self.origin.allows() if send_at <= t else self.origin.defers(PolicyReason.SCHEDULED, send_at)


class ExpiryRule(Rule):
    """A message is not sent at or after the instant from which its sender no longer wants it."""

    __slots__ = ()

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        expires_at = intent.notification.expires_at
        if expires_at is None:
            return None
        return self.origin.allows() if t < expires_at else self.origin.suppresses(PolicyReason.EXPIRES_FIRST)

    def ends(self, intent: Intent, t: datetime) -> datetime | None:
        return intent.notification.expires_at


class CaseClosedRule(Rule):
    """Nobody is reminded of what is paid."""

    __slots__ = ()

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if intent.facts.case_closed:
            return self.origin.suppresses(PolicyReason.CASE_CLOSED)
        return self.origin.allows()


class CapabilityRule(Rule):
    """Some providers refuse some categories outright; such a message is not tried there."""

    __slots__ = ()

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if intent.capability is None:
            return None
        if intent.notification.category.value in intent.capability:
            return self.origin.allows()
        return self.origin.suppresses(PolicyReason.PROVIDER_INCAPABLE, intent.notification.category.value)


def compile_rules(source: Source) -> Iterator[Rule]:
    if not source.universal:
        return
    for name, build in (("send_at", SendAtRule), ("expiry", ExpiryRule), ("case_closed", CaseClosedRule)):
        yield build(source.origin(name, source.sections[name]))
    yield CapabilityRule(source.origin("provider_capability", source.sections["provider_capability"]))
