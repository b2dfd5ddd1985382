"""Prometheus metrics: ``Metrics``, and the closed lists of its labels."""

from gateway.observability.metrics.verbs import Metrics
from gateway.observability.metrics.words import (
    OTHER,
    AcceptOperation,
    AcceptOutcome,
    AttemptOutcome,
    BatchStage,
    CallbackRefusal,
    DecidedWhen,
    Dependency,
    LedgerOperation,
    OptOutSource,
    ReceiptResult,
    RefusedReason,
)

__all__ = [
    "OTHER",
    "AcceptOperation",
    "AcceptOutcome",
    "AttemptOutcome",
    "BatchStage",
    "CallbackRefusal",
    "DecidedWhen",
    "Dependency",
    "LedgerOperation",
    "Metrics",
    "OptOutSource",
    "ReceiptResult",
    "RefusedReason",
]
