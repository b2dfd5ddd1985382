"""Route: which of a channel's providers carries a message, by weight, circuit breaker and the operator's switches.

Pure but for the last minute's attempts, which each process counts for itself: neither a lost Redis nor a worker with a
bad network affects the others' choice. All figures are our choice.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from channels.base import Provider, SendFailure
from channels.base import ProviderReason as Reason
from gateway.core.controls import Switch
from gateway.core.deliveries import Attempt, ClaimedDelivery, Outgoing, Transition, unresolved
from gateway.core.notifications import Notification
from gateway.core.reasons import EndReason
from gateway.core.requests import PauseInfo
from gateway.core.states import State

_WINDOW = timedelta(seconds=60)
MIN_SAMPLES = 20  # below that a rate says nothing
_TOO_MANY = 0.5  # of the attempts in the window
OPEN_FOR = timedelta(seconds=30)  # how long the breaker is open; then one message probes the provider
_PROBE_EVERY = timedelta(seconds=5)
RAMP_UP = timedelta(seconds=60)  # half-open: from the first success until it has its whole share again

# Failures of the provider or the network. A refused number is none, nor is a request to slow down: its Retry-After is
# honoured.
_FAULTS = frozenset(
    {
        Reason.PROVIDER_UNAVAILABLE,
        Reason.PROVIDER_CONFIG,
        Reason.CONNECTION_FAILED,
        Reason.CONNECTION_LOST,
        Reason.TIMEOUT,
        Reason.SERVER_ERROR,
    }
)


# The provider was not called, so the attempt says nothing about it.
_NO_CALL = frozenset({Reason.TOO_LATE, Reason.NOT_BEGUN})


_MOST_ERRORS = 5  # different ones that are remembered of a provider; our choice: what a page shows
_LONGEST_CODE = 40  # as the ledger's column


@dataclass(frozen=True, slots=True)
class ProviderError:
    """A way in which attempts failed: the reason, the provider's own code, how often since the start, and when last."""

    reason: str
    code: str
    number: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """A provider's health: ``share`` from 0 (breaker open) to 1, and this process's attempts of the last minute.

    ``errors`` are this process's last different errors, the latest first.
    """

    share: float
    attempts: int
    failed: int
    errors: tuple[ProviderError, ...] = ()


@dataclass(slots=True)
class _CircuitBreaker:
    """One provider's circuit breaker, over the attempts of the last minute."""

    attempts: deque[tuple[datetime, bool]] = field(default_factory=deque)
    failed: int = 0
    open_until: datetime | None = None
    probe_at: datetime | None = None  # the next message that may try it
    half_open_since: datetime | None = None
    errors: tuple[ProviderError, ...] = ()

    def note(self, failure: SendFailure, now: datetime) -> None:
        """Remember an error for those who look at the provider."""
        key = (str(failure.reason), failure.code[:_LONGEST_CODE])
        known = next((each.number for each in self.errors if (each.reason, each.code) == key), 0)
        others = [each for each in self.errors if (each.reason, each.code) != key]
        self.errors = (ProviderError(*key, known + 1, now), *others[: _MOST_ERRORS - 1])

    def learn(self, good: bool, now: datetime) -> None:
        self.attempts.append((now, good))
        self.failed += not good
        self._forget_before(now - _WINDOW)
        if self.open_until is not None:
            if good and now >= self.open_until:
                self._forget(half_open_since=now)
            elif not good:
                self.open_until = self.probe_at = now + OPEN_FOR
            return
        if len(self.attempts) >= MIN_SAMPLES and self.failed / len(self.attempts) >= _TOO_MANY:
            self._forget(open_until=now + OPEN_FOR)

    def _forget_before(self, since: datetime) -> None:
        while self.attempts and self.attempts[0][0] <= since:
            self.failed -= not self.attempts.popleft()[1]

    def seen(self, now: datetime) -> ProviderHealth:
        """The breaker as metrics and the status page show it."""
        self._forget_before(now - _WINDOW)
        return ProviderHealth(self.share(now), len(self.attempts), self.failed, self.errors)

    def _forget(self, open_until: datetime | None = None, half_open_since: datetime | None = None) -> None:
        self.attempts.clear()
        self.failed = 0
        self.open_until, self.half_open_since, self.probe_at = open_until, half_open_since, open_until

    def share(self, now: datetime) -> float:
        """The share of its weight that it gets: 0 while open, 1 while closed, rising in between while half-open."""
        if self.open_until is not None:
            return 0.0
        if self.half_open_since is None or now >= self.half_open_since + RAMP_UP:
            return 1.0
        return max(0.1, (now - self.half_open_since) / RAMP_UP)

    def take_probe(self, now: datetime) -> bool:
        """Whether this message may probe a provider whose breaker is open."""
        if self.open_until is None or self.probe_at is None or now < self.probe_at:
            return False
        self.probe_at = now + _PROBE_EVERY
        return True


class ProviderRouter:
    """Chooses among the providers by their weights and circuit breakers."""

    def __init__(self, providers: Mapping[str, Provider], weights: Mapping[str, float]) -> None:
        self._providers = providers
        self._weights = weights
        self._health = {name: _CircuitBreaker() for name in providers}

    def choose(self, work: ClaimedDelivery, switches: Sequence[Switch], now: datetime) -> str | None:
        """The provider for a message. None: no provider of its channel may carry its category.

        A provider that just failed with this message is avoided, and so is one whose breaker is open; but the last
        one is never dropped: with no better one, the message goes where it may fail, and is retried.
        """
        delivery, notification = work.delivery, work.notification
        able = self._able(notification, delivery.channel)
        if delivery.repeats_unknown_outcome:
            # Only the provider that may have it recognises the repeated request; a pause is waited out.
            return delivery.provider if delivery.provider in able else None
        able = _narrowed(able, {switch.value for switch in switches if switch.pins(notification)})
        able = _narrowed(able, {name for name in able if self._open(name, work, switches)})
        elsewhere = {name for name in able if delivery.state is not State.RETRYING or name != delivery.provider}
        for probed in able:
            if probed in elsewhere and self._health[probed].take_probe(now):
                return probed
        able = _narrowed(able, {name for name in able if self._health[name].share(now) > 0})
        able = _narrowed(able, elsewhere)
        return self._weighted(able, f"{delivery.id}.{delivery.attempt}", now)

    def stopped(self, notification: Notification, channel: str, switches: Sequence[Switch]) -> Switch | None:
        """The pause by which no provider of this channel may carry the message now. None: one may."""
        found = [
            next((switch for switch in switches if switch.stops(notification, channel, name)), None)
            for name in self._able(notification, channel)
        ]
        return found[0] if found and None not in found else None

    def held(self, notification: Notification, switches: Sequence[Switch]) -> PauseInfo | None:
        """The paused part of the message's route; its other steps go out."""
        found = {step.channel: self.stopped(notification, step.channel, switches) for step in notification.route}
        stopped = {channel: switch for channel, switch in found.items() if switch is not None}
        return PauseInfo(next(iter(stopped.values())), tuple(stopped)) if stopped else None

    def assign(
        self, permitted: Sequence[Outgoing], switches: Sequence[Switch], now: datetime
    ) -> tuple[list[Outgoing], list[Transition]]:
        """Give each message its provider; a delivery that no provider may carry ends here, and its route goes on.

        One that may have arrived goes to review instead, as its route would send a second copy.
        """
        ready: list[Outgoing] = []
        transitions: list[Transition] = []
        for message in permitted:
            name, delivery = self.choose(message.work, switches, now), message.work.delivery
            if name is None and delivery.repeats_unknown_outcome:
                transitions.append(unresolved(delivery, now))  # its provider is not configured any more
            elif name is None:
                reason = EndReason.NO_PROVIDER
                transitions.append(
                    Transition(delivery.id, "no_provider", now, to=State.FAILED, reason=reason, next_step=True)
                )
            else:
                ready.append(replace(message, provider=name))
        return ready, transitions

    def learn(self, attempt: Attempt) -> None:
        """Count an attempt that has ended in its provider's circuit breaker."""
        failure = attempt.result if isinstance(attempt.result, SendFailure) else None
        health = self._health.get(attempt.provider)
        if health is not None and (failure is None or failure.reason not in _NO_CALL):
            health.learn(failure is None or failure.reason not in _FAULTS, attempt.finished_at)
            if failure is not None:
                health.note(failure, attempt.finished_at)

    def health(self, now: datetime) -> Mapping[str, ProviderHealth]:
        """Each provider's health, by name."""
        return {name: health.seen(now) for name, health in self._health.items()}

    def _able(self, notification: Notification, channel: str) -> list[str]:
        return [
            name
            for name, provider in self._providers.items()
            if provider.channel == channel and notification.category in provider.capability.categories
        ]

    def _open(self, name: str, work: ClaimedDelivery, switches: Sequence[Switch]) -> bool:
        return not any(switch.stops(work.notification, work.delivery.channel, name) for switch in switches)

    def _weighted(self, names: Sequence[str], key: str, now: datetime) -> str | None:
        """By a hash of the message's id, so that choosing twice gives the same provider."""
        if len(names) < 2:
            return names[0] if names else None
        weights = [self._weights.get(name, 1.0) * (self._health[name].share(now) or 1.0) for name in names]
        point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64 * sum(weights)
        for name, weight in zip(names, weights, strict=True):
            point -= weight
            if point < 0:
                return name
        return names[-1]


def _narrowed(able: list[str], wanted: Set[str]) -> list[str]:
    """Those that are wanted; all, where that would leave none."""
    return [name for name in able if name in wanted] or able
