"""Schedule: when to retry and how long to wait. Every duration of the path, in one place.

Arithmetic only. The waiting is the ledger's ``due_at``, never a sleeping task.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from channels.base import ProviderReason
from gateway.core.notifications import Step

# Exponential backoff in seconds: 10 doubling to at most an hour, with up to 5 of jitter: our choice. Six attempts span
# about five minutes; an outage that outlasts them goes to the next step of the route, where there is one.
_FIRST, _LONGEST, _JITTER = 10, 3600, 5
_MOST_DOUBLINGS = 10  # beyond the longest already

# A handset that is off comes back within hours, not seconds: Twilio's guidance for 30003 (unreachable).
# A limit per person is lifted no sooner either; our choice. A template that the provider refuses is looked at again at
# once: its state is known by then, so the message goes on by the next step, or is held (message_form.py).
_SLOW_REASONS = frozenset(
    {
        ProviderReason.UNREACHABLE,
        ProviderReason.MAILBOX_FULL,
        ProviderReason.FREQUENCY_LIMITED,
    }
)
_SLOW = timedelta(minutes=30)

_PAUSE = timedelta(seconds=_FIRST)  # the backoff's first step

# Failures of the provider or the network, and not of this message.
_OUTAGES = frozenset(
    {
        ProviderReason.CONNECTION_FAILED,
        ProviderReason.CONNECTION_LOST,
        ProviderReason.TIMEOUT,
        ProviderReason.PROVIDER_UNAVAILABLE,
        ProviderReason.PROVIDER_CONFIG,
        ProviderReason.RATE_LIMITED,
        ProviderReason.SERVER_ERROR,
    }
)
_OUTLAST = timedelta(hours=72)  # our choice: a long weekend

# No call was made: the permitted time was over, or no connection became free in time.
_OUR_DOING = frozenset({ProviderReason.TOO_LATE, ProviderReason.NOT_BEGUN})

# An unclassified code is not retried more often than this; our choice.
_BOUNDED: Mapping[str, int] = {
    ProviderReason.UNMAPPED: 2,
    ProviderReason.UNREACHABLE: 3,
    ProviderReason.MAILBOX_FULL: 3,
    ProviderReason.TEMPLATE_UNAVAILABLE: 3,
    ProviderReason.FREQUENCY_LIMITED: 3,
}


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The path's durations. ``time_scale`` shortens the long ones for a demonstration; 1.0 in production."""

    receipt_wait: timedelta
    unknown_grace: timedelta
    max_attempts: int
    time_scale: float = 1.0

    def _scaled(self, duration: timedelta) -> timedelta:
        return duration / self.time_scale

    def counts(self, now: datetime, reason: str, outlast_since: datetime | None) -> bool:
        """Whether a failed attempt is one of the bounded number. Our own doing is not, nor an outage waited out.

        ``outlast_since`` is given where there is no other channel to go to: then a provider's outage, counted from
        there, is waited out for as long as a receipt would be.
        """
        outlasts = outlast_since is not None and reason in _OUTAGES and now - outlast_since < self._scaled(_OUTLAST)
        return not outlasts and reason not in _OUR_DOING

    def retry_at(
        self, now: datetime, attempt: int, reason: str, retry_after: float | None, tries: int | None
    ) -> datetime | None:
        """When attempt number ``attempt`` (from 1), having failed, may be followed by another; None: never.

        ``tries`` is how many attempts have counted, with this one; None: this one does not.
        ``retry_after`` is the provider's own word in seconds (RFC 9110 section 10.2.3) and is honoured as a minimum.
        """
        if reason in _OUR_DOING:
            return now + (self._scaled(_PAUSE) if retry_after is None else timedelta(seconds=retry_after))
        if tries is not None and tries >= min(self.max_attempts, _BOUNDED.get(reason, self.max_attempts)):
            return None
        backoff = _FIRST * 2 ** min(attempt - 1, _MOST_DOUBLINGS) + random.uniform(0, _JITTER)
        delay = timedelta(seconds=min(backoff, _LONGEST))
        if reason in _SLOW_REASONS:
            delay = max(delay, _SLOW)
        asked = timedelta(seconds=retry_after or 0)
        return now + max(self._scaled(delay), asked)

    def escalate_at(self, now: datetime, step: Step, *, last: bool) -> datetime | None:
        """When the next step opens if this one's goal is not reached; None: there is no wait, or no next step."""
        if last or step.wait is None:
            return None
        return now + self._scaled(step.wait)

    def receipt_by(self, now: datetime, within: timedelta | None = None) -> datetime:
        """When we stop waiting for the provider's word on a message handed over at ``now``.

        ``within``: how long the provider itself takes for it, at most; None: ``receipt_wait``.
        """
        return now + self._scaled(within or self.receipt_wait)

    def ask_at(self, now: datetime) -> datetime:
        """When an unknown outcome is looked up, giving the provider's callback its chance first.

        Not scaled: it covers the provider's real delays.
        """
        return now + self.unknown_grace


def earliest(*instants: datetime | None) -> datetime | None:
    """The first of the deadlines that exist."""
    return min((instant for instant in instants if instant is not None), default=None)
