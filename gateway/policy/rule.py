"""The interface of a policy rule: its input, its result and the source of its figure.

Owns what every family of rules shares. Must not know a rule, a pack file or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gateway.core.facts import Facts
from gateway.core.notifications import Notification
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult, VerdictKind


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """The message that is to be sent, and every fact that a rule may use.

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
    """Where a result comes from: rule, pack, version and authority of the figure (such as ``law:official_text``)."""

    rule: str
    pack: str = ""
    version: str = ""
    authority: str = ""

    def result(
        self, kind: VerdictKind, reason: PolicyReason, until: datetime | None = None, detail: str = ""
    ) -> RuleResult:
        return RuleResult(self.rule, kind, reason, until, self.pack, self.version, self.authority, detail)

    def allow(self, detail: str = "") -> RuleResult:
        return self.result(VerdictKind.SEND, PolicyReason.PERMITTED, detail=detail)

    def defer(self, reason: PolicyReason, until: datetime, detail: str = "", *, open_ended: bool = False) -> RuleResult:
        result = self.result(VerdictKind.DEFER, reason, until, detail)
        return replace(result, open_ended=True) if open_ended else result

    def suppress(self, reason: PolicyReason, detail: str = "") -> RuleResult:
        return self.result(VerdictKind.SUPPRESS, reason, detail=detail)


class Rule:
    """One rule, compiled from one section of one pack. Immutable and stateless: the result depends on the arguments.

    ``allowed`` is the result without a detail, made once, because most results are that.
    """

    __slots__ = ("allowed", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.allowed = origin.allow()

    def applies_to(self, category: str, channel: str) -> bool:
        """Whether the rule applies to messages of this category and channel; it is not evaluated for others."""
        return True

    def lookback(self) -> timedelta:
        """How far before ``t`` a contact can lie and still change the result of ``evaluate``; zero: contacts don't."""
        return timedelta(0)

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        """The rule's result for sending at ``t``; None where the context has nothing that the rule looks at.

        A denial's ``until`` is a lower bound after ``t`` of the next instant at which this rule alone would allow;
        None means that waiting does not help.
        """
        raise NotImplementedError

    def valid_until(self, context: EvaluationContext, t: datetime) -> datetime | None:
        """When the permission or the review that ``evaluate`` gives at ``t`` ends by time alone; None: it does not."""
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
