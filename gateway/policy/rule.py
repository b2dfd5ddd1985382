"""What a rule is: the question it is asked, the answer it gives, and where its figure comes from.

Owns the shape every rule family shares. Knows no rule, no pack file and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gateway.core.model import Facts, Notification, PolicyReason, RuleResult, VerdictKind


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """What somebody wants to send, and all that may be known when judging it.

    ``text`` is None while nothing is rendered; ``capability`` is None while no provider is chosen.
    """

    notification: Notification
    channel: str
    facts: Facts
    address_digest: str = ""
    text: str | None = None
    capability: frozenset[str] | None = None
    approved: str = ""
    time_zones: tuple[str, ...] = ()  # all that are possible, as this request and the latest one state them


@dataclass(frozen=True, slots=True)
class Origin:
    """Which rule of which version of which pack is speaking, and on whose authority (``law:official_text``)."""

    rule: str
    pack: str = ""
    version: str = ""
    authority: str = ""

    def says(
        self, kind: VerdictKind, reason: PolicyReason, until: datetime | None = None, detail: str = ""
    ) -> RuleResult:
        return RuleResult(self.rule, kind, reason, until, self.pack, self.version, self.authority, detail)

    def allows(self, detail: str = "") -> RuleResult:
        return self.says(VerdictKind.SEND, PolicyReason.PERMITTED, detail=detail)

    def defers(
        self, reason: PolicyReason, until: datetime, detail: str = "", *, open_ended: bool = False
    ) -> RuleResult:
        result = self.says(VerdictKind.DEFER, reason, until, detail)
        return replace(result, open_ended=True) if open_ended else result

    def suppresses(self, reason: PolicyReason, detail: str = "") -> RuleResult:
        return self.says(VerdictKind.SUPPRESS, reason, detail=detail)


class Rule:
    """One rule, compiled from one place of one pack. Immutable and without memory: an answer depends on its inputs.

    ``allowed`` is its plain yes, made once: most answers are that.
    """

    __slots__ = ("allowed", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.allowed = origin.allows()

    def applies_to(self, category: str, channel: str) -> bool:
        """Whether it can have anything to say of such a message. A rule that can't is not asked at all."""
        return True

    def lookback(self) -> timedelta:
        """How far before ``t`` a contact can lie and still change the result of ``evaluate``; zero: contacts don't."""
        return timedelta(0)

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        """The rule's word on sending at ``t``; None where it has nothing to look at.

        A denial's ``until`` is a lower bound after ``t`` of the next instant at which this rule alone would allow;
        None means that waiting does not help.
        """
        raise NotImplementedError

    def valid_until(self, context: EvaluationContext, t: datetime) -> datetime | None:
        """When the rule's yes or its wish for a review at ``t`` ends by the mere passing of time; None: it does not."""
        return None


@dataclass(frozen=True, slots=True)
class PackSection:
    """One half of a pack file (``rules`` or ``universal``), as a rule family reads it."""

    pack: str
    version: str
    sections: Mapping[str, Any]

    def origin(self, rule: str, section: Mapping[str, Any]) -> Origin:
        mark = section["mark"]
        return Origin(rule, self.pack, self.version, f"{mark['authority']}:{mark['seen']}")
