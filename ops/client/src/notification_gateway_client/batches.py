"""Sending many notifications: in batches, each item with an idempotency key, with a report of the progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from .client import AsyncGatewayClient, GatewayClient
from .models import BatchAcceptedOut, BatchIn, BatchItemIn, BatchOut, BatchRejectedOut, NotificationIn

LARGEST = 1000  # the API's limit
_SIZE = 500  # our choice: an answer within a second, and few round trips


@dataclass(frozen=True)
class BatchProgress:
    """After a batch: its results, and the totals so far. ``index`` of a result counts from ``first``."""

    first: int
    results: list[BatchAcceptedOut | BatchRejectedOut]
    accepted: int
    replayed: int
    rejected: int

    @property
    def rejections(self) -> list[tuple[int, BatchRejectedOut]]:
        """What was refused in this batch, each with its number among all notifications, from 0."""
        refused = (each for each in self.results if isinstance(each, BatchRejectedOut))
        return [(self.first + each.index, each) for each in refused]


Report = Callable[[BatchProgress], None]


def send_batches(
    client: GatewayClient,
    notifications: Iterable[NotificationIn],
    run: str,
    *,
    size: int = _SIZE,
    report: Report | None = None,
) -> BatchProgress:
    """Send all; the last progress. ``run`` names this file or export: a repetition under the same name adds nothing.

    The key of each notification is ``run``/its number, so the order has to be the same in a repetition. Raises
    ProblemError and NotReached where a batch as a whole fails; call again with the same ``run`` to go on.
    """
    progress = _begun()
    for batch in _batches(notifications, run, size):
        progress = _after(progress, client.create_notification_batch(batch, idempotency_key=None))
        if report is not None:
            report(progress)
    return progress


async def send_batches_async(
    client: AsyncGatewayClient,
    notifications: Iterable[NotificationIn],
    run: str,
    *,
    size: int = _SIZE,
    report: Report | None = None,
) -> BatchProgress:
    """As ``send_batches``, for asyncio."""
    progress = _begun()
    for batch in _batches(notifications, run, size):
        progress = _after(progress, await client.create_notification_batch(batch, idempotency_key=None))
        if report is not None:
            report(progress)
    return progress


def _batches(notifications: Iterable[NotificationIn], run: str, size: int) -> Iterator[BatchIn]:
    if not 1 <= size <= LARGEST:
        raise ValueError(f"size must be 1 to {LARGEST}")
    items = (
        BatchItemIn.model_validate({**each.model_dump(exclude_unset=True), "idempotency_key": f"{run}/{number}"})
        for number, each in enumerate(notifications)
    )
    while batch := list(islice(items, size)):
        yield BatchIn(notifications=batch)


def _begun() -> BatchProgress:
    return BatchProgress(0, [], 0, 0, 0)


def _after(before: BatchProgress, answer: BatchOut) -> BatchProgress:
    return BatchProgress(
        before.first + len(before.results),
        answer.results,
        before.accepted + answer.accepted,
        before.replayed + answer.replayed,
        before.rejected + answer.rejected,
    )
