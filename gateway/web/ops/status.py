"""Builds the status page from the ledger's figures: numbers, warnings, plots, verdicts and providers.

Pure: no SQL, no HTTP. A warning has the threshold of an alert, and links to the runbook that the alert names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from gateway.core.controls import Switch, SwitchKind
from gateway.core.reasons import PolicyReason, Violation
from gateway.core.states import State
from gateway.core.understanding import OpenReviews, Urgency
from gateway.operations.activity import EventGroup, Minutes
from gateway.operations.processes import RunningProcess
from gateway.stages.route import ProviderError, ProviderHealth
from gateway.storage.store import Backlog
from gateway.web.plots import PlotSeries, columns

# The thresholds of ops/prometheus/alerts.yml, so that the page and the pager agree.
_LATE_SECONDS = 60
_WEBHOOKS_LATE_SECONDS = 3600

_NOT_READY_RUNBOOKS = {"ledger": "GatewayLedgerLost", "redis": "GatewayRedisLost"}
_VERDICTS = {State.DEFERRED: "defer", State.SUPPRESSED: "suppress", State.REVIEW: "review"}
_FAILED = (State.FAILED, State.UNDELIVERED, State.EXPIRED)


@dataclass(frozen=True, slots=True)
class StatusText:
    """A text of the pages' languages (``texts/``) with its values."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusWarning:
    """A condition that a person should handle; ``runbook`` is the page that says how."""

    text: StatusText
    runbook: str


@dataclass(frozen=True, slots=True)
class Number:
    """One figure with its explanation, and whether a person should look at it."""

    name: str
    value: str
    text: StatusText
    troubled: bool = False


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One provider's traffic, summed over the workers. ``share`` is the lowest that a worker gives it, from 0 to 1.

    ``errors`` are the last different ones of all workers, the latest first.
    """

    name: str
    channel: str
    share: float
    attempts: int
    failed: int
    workers: int
    errors: Sequence[ProviderError] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """How often a verdict was given for one reason in the last hour."""

    verdict: str
    reason: str
    count: int
    percent: float


@dataclass(frozen=True, slots=True)
class Status:
    """The whole page."""

    at: datetime
    warnings: Sequence[StatusWarning]
    numbers: Sequence[Number]
    flow: Markup
    ends: Markup
    verdicts: Sequence[Share]
    providers: Sequence[ProviderRow]
    switches: Sequence[Switch]
    alive: list[RunningProcess]
    gone: list[RunningProcess]
    deployed: tuple[str, datetime] | None


def status(
    now: datetime,
    ages: Backlog,
    minutes: Minutes,
    processes: Sequence[RunningProcess],
    switches: Sequence[Switch],
    channels: Mapping[str, str],
    not_ready: Mapping[str, str],
    webhooks_waiting_seconds: float = 0.0,
    violations: Mapping[Violation, int] | None = None,
) -> Status:
    """Build the page. ``channels`` maps a provider to its channel, ``not_ready`` a failing dependency to the error.

    ``webhooks_waiting_seconds`` is the age of the oldest webhook message that waits, ``violations`` how many contacts
    of the last day broke a rule, by the audit.
    """
    alive = [each for each in processes if each.alive(now)]
    providers = provider_rows(alive, channels)
    labels = [datetime.fromtimestamp(minute * 60, UTC).strftime("%H:%M") for minute in minutes]
    flow = [
        PlotSeries("accepted", _per_minute(minutes, lambda each: each.kind == "accepted")),
        PlotSeries("sent to providers", _per_minute(minutes, lambda each: each.kind == "attempt_started")),
    ]
    ends = [
        PlotSeries("delivered", _per_minute(minutes, lambda each: _moved(each) and each.state == State.DELIVERED)),
        PlotSeries("not delivered", _per_minute(minutes, lambda each: _moved(each) and each.state in _FAILED)),
    ]
    return Status(
        at=now,
        warnings=[
            *_broken_rules(violations or {}),
            *_warnings(ages, providers, switches, alive, not_ready, webhooks_waiting_seconds),
        ],
        numbers=_numbers(ages),
        flow=columns("Accepted and sent in each minute of the last hour", flow, labels),
        ends=columns("Delivered and not delivered in each minute of the last hour", ends, labels),
        verdicts=_verdicts(minutes),
        providers=providers,
        switches=switches,
        alive=alive,
        gone=[each for each in processes if not each.alive(now) and now - each.seen_at < timedelta(hours=1)],
        deployed=_deployed(processes),
    )


def _moved(group: EventGroup) -> bool:
    return group.kind not in ("ignored", "checked", "lookup_failed")


def _per_minute(minutes: Minutes, wanted: Callable[[EventGroup], bool]) -> list[float]:
    return [sum(count for each, count in counts.items() if wanted(each)) for counts in minutes.values()]


def _verdicts(minutes: Minutes) -> list[Share]:
    counted: Counter[tuple[str, str]] = Counter()
    for counts in minutes.values():
        for each, count in counts.items():
            if each.kind == "attempt_started":
                counted["send", str(PolicyReason.PERMITTED)] += count
            elif each.kind == "decided" and each.state in _VERDICTS:
                counted[_VERDICTS[State(each.state)], each.reason] += count
            elif each.kind == "suppressed":
                counted["suppress", each.reason] += count
    total = sum(counted.values())
    return [Share(*key, count, 100 * count / total) for key, count in counted.most_common()]


def provider_rows(alive: Iterable[RunningProcess], channels: Mapping[str, str]) -> list[ProviderRow]:
    """The providers as the living workers see them together."""
    alive = list(alive)
    seen = {
        name: [each.providers[name] for each in alive if each.sends and name in each.providers] for name in channels
    }
    return [
        ProviderRow(
            name,
            channels[name],
            min((each.share for each in health), default=1.0),
            sum(each.attempts for each in health),
            sum(each.failed for each in health),
            len(health),
            _last_errors(health),
        )
        for name, health in seen.items()
    ]


def _last_errors(health: Iterable[ProviderHealth]) -> list[ProviderError]:
    """The last different errors of several workers, their numbers added, the latest first."""
    found: dict[tuple[str, str], ProviderError] = {}
    for each in (error for worker in health for error in worker.errors):
        known = found.get((each.reason, each.code))
        number, last_at = (known.number, known.last_at) if known else (0, each.last_at)
        found[each.reason, each.code] = replace(each, number=number + each.number, last_at=max(last_at, each.last_at))
    return sorted(found.values(), key=lambda each: each.last_at, reverse=True)


def _numbers(ages: Backlog) -> list[Number]:
    late, slow = ages.oldest_due_seconds > _LATE_SECONDS, any(each.overdue_seconds for each in ages.reviews.values())
    oldest = StatusText("ops_oldest_review", {"time": duration(ages.oldest_review_seconds)})
    deliveries = StatusText("ops_deliveries")
    return [
        Number("oldest_due", duration(ages.oldest_due_seconds), StatusText("ops_not_started"), late),
        Number("due", f"{ages.due:,}", deliveries),
        Number("unknown", f"{ages.unknown:,}", StatusText("ops_nobody_knows"), ages.unknown > 0),
        Number("review", f"{ages.review:,}", oldest, slow),
        Number("paused", f"{ages.paused:,}", deliveries, ages.paused > 0),
    ]


def _broken_rules(violations: Mapping[Violation, int]) -> Iterator[StatusWarning]:
    if twice := violations.get(Violation.REPEAT, 0):
        yield _warning("repeated", "GatewayContactRepeated", number=twice)
    if forbidden := sum(violations.values()) - twice:
        yield _warning("forbidden", "GatewayContactForbidden", number=forbidden)


def _warnings(
    ages: Backlog,
    providers: Sequence[ProviderRow],
    switches: Iterable[Switch],
    alive: Sequence[RunningProcess],
    not_ready: Mapping[str, str],
    webhooks_waiting_seconds: float,
) -> list[StatusWarning]:
    found = [
        _warning(f"not_ready_{name}", _NOT_READY_RUNBOOKS[name], reason=reason)
        if name in _NOT_READY_RUNBOOKS
        else _warning("not_ready", "GatewayAcceptAvailability", part=name, reason=reason)
        for name, reason in not_ready.items()
        if reason
    ]
    if not any(each.sends for each in alive):
        found.append(_warning("no_worker", "GatewayWorkerAbsent"))
    if ages.oldest_due_seconds > _LATE_SECONDS:
        found.append(_warning("late", "GatewayDeliveriesLate", time=duration(ages.oldest_due_seconds)))
    found += _failing(providers)
    if ages.unknown:
        found.append(_warning("unknown", "GatewayUnknownOutcomes", number=ages.unknown))
    if urgent := max(_overdue(each, urgent=True) for each in (ages.reviews, ages.conversations)):
        found.append(_warning("urgent_reply", "GatewayUrgentReplyWaits", time=duration(urgent)))
    if overdue := _overdue(ages.reviews, urgent=False):
        found.append(_warning("review", "GatewayReviewWaits", time=duration(overdue)))
    if unanswered := _overdue(ages.conversations, urgent=False):
        found.append(_warning("conversation", "GatewayConversationWaits", time=duration(unanswered)))
    if webhooks_waiting_seconds > _WEBHOOKS_LATE_SECONDS:
        found.append(_warning("webhooks", "GatewayWebhooksLate", time=duration(webhooks_waiting_seconds)))
    if pauses := sum(each.kind is SwitchKind.PAUSE for each in switches):
        found.append(_warning("paused", "GatewayPausedLong", number=pauses))
    return found


def _overdue(waiting: Mapping[Urgency, OpenReviews], *, urgent: bool) -> float:
    """For how long the first one is past its clock: of what is urgent, or of the rest."""
    these = (each.overdue_seconds for urgency, each in waiting.items() if (urgency is Urgency.NOW) is urgent)
    return max(these, default=0.0)


def _failing(providers: Sequence[ProviderRow]) -> Iterator[StatusWarning]:
    by_channel: dict[str, list[ProviderRow]] = {}
    for row in providers:
        by_channel.setdefault(row.channel, []).append(row)
    for channel, rows in by_channel.items():
        failing = [row.name for row in rows if row.share == 0]
        if len(failing) == len(rows):
            yield _warning("channel_down", "GatewayChannelDown", channel=channel)
        elif failing:
            yield _warning("provider_failing", "GatewayProviderFailing", provider=", ".join(failing))


def _warning(key: str, runbook: str, **values: object) -> StatusWarning:
    return StatusWarning(StatusText(f"ops_warning_{key}", values), runbook)


def _deployed(processes: Sequence[RunningProcess]) -> tuple[str, datetime] | None:
    """The version of the process that started last, and the first start of a process with that version."""
    if not processes:
        return None
    newest = max(processes, key=lambda each: each.started_at).version
    return newest, min(each.started_at for each in processes if each.version == newest)


def duration(seconds: float) -> str:
    """A duration for display: "0 s", "45 s", "12 min", "3 h 5 min", "2 d 4 h"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 1 else f"{days} d {hours % 24} h"
