"""Verdicts of the contact policy, with the rules behind them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.core.reasons import PolicyReason


class VerdictKind(StrEnum):
    """The four verdicts of the policy, in order of strictness, weakest first."""

    SEND = "send"
    DEFER = "defer"
    REVIEW = "review"
    SUPPRESS = "suppress"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The result of one rule of one pack, with the authority of its figure."""

    rule: str
    verdict: VerdictKind
    reason: PolicyReason
    until: datetime | None = None
    pack: str = ""
    version: str = ""
    authority: str = ""
    detail: str = ""
    open_ended: bool = False  # a deferral whose end is unknown: ``until`` is only when it is evaluated again


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, with all rules behind it. ``until`` is set for DEFER only; UTC.

    ``valid_until`` is when the permitted window ends: the provider must not deliver later. For REVIEW it is when
    the reason for the review ends by itself (a hold with an end), so that it is decided anew.
    """

    kind: VerdictKind
    reason: PolicyReason
    until: datetime | None = None
    valid_until: datetime | None = None
    rules: tuple[RuleResult, ...] = ()
    time_zones: tuple[str, ...] = ()
    tzdata: str = ""
    packs: tuple[tuple[str, str, str], ...] = ()  # (name, version, sha256)
