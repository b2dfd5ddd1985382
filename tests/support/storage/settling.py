"""The rules by which tests settle attempts: those of production, without an adaptive part."""

from __future__ import annotations

from datetime import timedelta

from gateway.stages.schedule import RetrySchedule
from gateway.stages.settle import OutcomeRecorder

RECORDER = OutcomeRecorder(RetrySchedule(timedelta(hours=72), timedelta(seconds=30), 6), {})
