"""When a failed attempt is followed by another, and how long a step may take."""

from __future__ import annotations

from datetime import timedelta

import pytest

from channels.base import ProviderReason
from gateway.core.notifications import Step
from gateway.stages.schedule import RetrySchedule, earliest
from tests.support.storage.ledgers import NOW, later

SCHEDULE = RetrySchedule(timedelta(hours=72), timedelta(seconds=30), max_attempts=6)


@pytest.mark.parametrize(("attempt", "least", "most"), [(1, 10, 15), (2, 20, 25), (3, 40, 45), (5, 160, 165)])
def test_waits_double_and_jitter(attempt: int, least: int, most: int) -> None:
    """Ten seconds, doubling, with up to five seconds of jitter so that a crowd does not come back at once."""
    again = SCHEDULE.retry_at(NOW, attempt, ProviderReason.CONNECTION_FAILED, None, attempt)
    assert again is not None
    assert later(least) <= again <= later(most)


def test_the_providers_own_word_is_a_minimum() -> None:
    """Retry-After is honoured, however short our own schedule would be."""
    again = SCHEDULE.retry_at(NOW, 1, ProviderReason.RATE_LIMITED, 300, 1)
    assert again == later(300)


@pytest.mark.parametrize(
    ("reason", "last"),
    [
        (ProviderReason.CONNECTION_FAILED, 6),
        (ProviderReason.UNREACHABLE, 3),
        (ProviderReason.MAILBOX_FULL, 3),
        (ProviderReason.UNMAPPED, 2),
    ],
)
def test_attempts_are_bounded(reason: ProviderReason, last: int) -> None:
    """Every reason has a last attempt; a code that nobody knows has the second."""
    assert SCHEDULE.retry_at(NOW, last - 1, reason, None, last - 1) is not None
    assert SCHEDULE.retry_at(NOW, last, reason, None, last) is None


def test_only_what_counts_is_bounded() -> None:
    """After an outage of forty attempts, a code that nobody knows still has its two."""
    assert SCHEDULE.retry_at(NOW, 41, ProviderReason.UNMAPPED, None, 1) is not None
    assert SCHEDULE.retry_at(NOW, 42, ProviderReason.UNMAPPED, None, 2) is None


def test_an_outage_is_outlasted_where_there_is_nowhere_else_to_go() -> None:
    """On the last step a provider's outage is waited out for three days, at most an hour apart; a bad code is not."""
    assert not SCHEDULE.counts(later(3600), ProviderReason.CONNECTION_FAILED, NOW)
    again = SCHEDULE.retry_at(later(3600), 40, ProviderReason.CONNECTION_FAILED, None, None)
    assert again is not None
    assert later(7200) <= again <= later(7205)
    assert SCHEDULE.counts(later(72 * 3600), ProviderReason.CONNECTION_FAILED, NOW)
    assert SCHEDULE.counts(later(3600), ProviderReason.CONNECTION_FAILED, None)
    assert SCHEDULE.counts(NOW, ProviderReason.UNMAPPED, NOW)


def test_our_own_delay_costs_no_attempt() -> None:
    """What we gave back unsent is tried again, however often that happened."""
    assert SCHEDULE.retry_at(NOW, 50, ProviderReason.TOO_LATE, None, None) == later(10)
    assert SCHEDULE.retry_at(NOW, 50, ProviderReason.NOT_BEGUN, None, None) == later(10)
    assert SCHEDULE.retry_at(NOW, 50, ProviderReason.NOT_BEGUN, 0, None) == NOW
    assert not SCHEDULE.counts(NOW, ProviderReason.NOT_BEGUN, None)


def test_a_handset_that_is_off_gets_half_an_hour() -> None:
    """An unreachable handset is not tried again within seconds."""
    assert SCHEDULE.retry_at(NOW, 1, ProviderReason.UNREACHABLE, None, 1) == later(1800)


def test_a_refused_template_is_looked_at_again_within_seconds() -> None:
    """The next step, or holding the message, is then decided by the template's state, which the refusal told."""
    again = SCHEDULE.retry_at(NOW, 1, ProviderReason.TEMPLATE_UNAVAILABLE, None, 1)
    assert again is not None
    assert later(10) <= again <= later(15)


def test_steps_wait_only_where_there_is_a_next_one() -> None:
    """The last step of a route, and one without a wait, never escalate by time."""
    step = Step("sms", timedelta(minutes=30))
    assert SCHEDULE.escalate_at(NOW, step, last=False) == later(1800)
    assert SCHEDULE.escalate_at(NOW, step, last=True) is None
    assert SCHEDULE.escalate_at(NOW, Step("sms"), last=False) is None


def test_the_first_of_the_deadlines_that_exist() -> None:
    """Deadlines that are not set are no deadlines."""
    assert earliest(None, later(2), later(1)) == later(1)
    assert earliest(None, None) is None
