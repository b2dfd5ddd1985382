"""Sends a portfolio in concurrent batches, with retries until each is accepted or refused.

Owns the client of the batch endpoints. Must not know files or terminals. Retries are safe: every row has an idempotency
key, or is a case's part with a time of its own, so after a lost answer the batch is sent again, and its rows count as
replayed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_random_exponential

from gateway.cli.client import ApiTarget, CallFailed, dotted, problem_line
from gateway.cli.portfolio.files import PortfolioRow, RowError

if TYPE_CHECKING:
    import aiohttp

BATCH_SIZE = 500  # half of the endpoint's limit; our choice: frequent answers for the progress bar
IN_FLIGHT = 3  # one being built, one in transit, one being committed; more was not faster (measured)
_GIVE_UP_SECONDS = 300.0  # our choice: longer than a restart or a failover of the database
_BUSY = frozenset({429, 502, 503, 504})  # statuses to retry: overloaded, or the proxy or the ledger is unavailable
_LONGEST_PAUSE = 30.0  # seconds, also where Retry-After is longer; our choice for an interactive command


@dataclass(slots=True)
class Tally:
    """The counts of one run."""

    requests: int = 0
    accepted: int = 0
    replayed: int = 0
    rejected: int = 0
    errors: list[RowError] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def view(self) -> dict[str, Any]:
        """The tally as ``gateway send --json`` prints it."""
        errors = sorted(self.errors, key=lambda each: each.line)
        return {
            "requests": self.requests,
            "accepted": self.accepted,
            "replayed": self.replayed,
            "rejected": self.rejected,
            "errors": [{"line": each.line, "field": each.field, "detail": each.detail} for each in errors],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class BatchEndpoint:
    """Where batches go: the path, the member of the body, and that of a row for its idempotency key ("": none)."""

    path: str
    member: str
    key: str = ""


NOTIFICATIONS = BatchEndpoint("/v1/notifications/batch", "notifications", "idempotency_key")
CASES = BatchEndpoint("/v1/cases/batch", "cases")


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How to send. ``rows_done`` and ``bad_row`` are called during the run."""

    batch_size: int = BATCH_SIZE
    in_flight: int = IN_FLIGHT
    give_up_seconds: float = _GIVE_UP_SECONDS
    rows_done: Callable[[int], None] = lambda number: None
    bad_row: Callable[[RowError], None] = lambda error: None
    endpoint: BatchEndpoint = NOTIFICATIONS


class _Busy(Exception):
    """The gateway can't take the batch now, or can't be reached."""

    def __init__(self, what: str, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class _TooLarge(Exception):
    """The batch has too many bytes."""


async def send(rows: Iterable[PortfolioRow | RowError], target: ApiTarget, options: SendOptions | None = None) -> Tally:
    """Send all rows; invalid ones are counted and skipped. Raises CallFailed when a retry is useless."""
    options = options or SendOptions()
    tally = Tally()
    started = time.monotonic()
    batches = _batches(rows, tally, options)

    async def take_turns(session: aiohttp.ClientSession) -> None:
        for batch in batches:
            await _deliver(session, target, batch, tally, options)
            # A demo's gateway runs in the same event loop; reading the next batch must not block it.
            await asyncio.sleep(0)

    try:
        async with target.session() as session, asyncio.TaskGroup() as tasks:
            for _ in range(options.in_flight):
                tasks.create_task(take_turns(session))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    tally.seconds = time.monotonic() - started
    return tally


def _batches(
    rows: Iterable[PortfolioRow | RowError], tally: Tally, options: SendOptions
) -> Iterator[list[PortfolioRow]]:
    readable = _readable(rows, tally, options)
    while batch := list(itertools.islice(readable, options.batch_size)):
        yield batch


def _readable(rows: Iterable[PortfolioRow | RowError], tally: Tally, options: SendOptions) -> Iterator[PortfolioRow]:
    for row in rows:
        tally.requests += 1
        if isinstance(row, PortfolioRow):
            yield row
        else:
            _reject(row, tally, options)
            options.rows_done(1)


def _reject(error: RowError, tally: Tally, options: SendOptions) -> None:
    tally.rejected += 1
    tally.errors.append(error)
    options.bad_row(error)


async def _deliver(
    session: aiohttp.ClientSession, target: ApiTarget, batch: Sequence[PortfolioRow], tally: Tally, options: SendOptions
) -> None:
    try:
        results = await _post(session, target, batch, options)
    except _TooLarge:
        if len(batch) == 1:
            _reject(RowError(batch[0].line, "", "is larger than the gateway takes"), tally, options)
            options.rows_done(1)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            await _deliver(session, target, half, tally, options)
        return
    for row, result in zip(batch, results, strict=True):
        _count(row, result, tally, options)
    options.rows_done(len(batch))


async def _post(
    session: aiohttp.ClientSession, target: ApiTarget, batch: Sequence[PortfolioRow], options: SendOptions
) -> Sequence[Mapping[str, Any]]:
    key = options.endpoint.key
    rows = [{**row.request, key: row.key} if key else row.request for row in batch]
    body = {options.endpoint.member: rows}
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_Busy),
        wait=_pause,
        stop=stop_after_delay(options.give_up_seconds),
        reraise=True,
    )
    try:
        async for attempt in retrying:
            with attempt:
                return await _post_once(session, target, options.endpoint.path, body, len(batch))
    except _Busy as error:
        again = "run the same command again: what was taken is not repeated"
        raise CallFailed(f"{target.url} does not take requests ({error}); {again}") from error
    raise AssertionError("unreachable: the retrying loop returns or raises")


_backoff = wait_random_exponential(multiplier=0.4, max=_LONGEST_PAUSE)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Busy) and error.retry_after is not None:
        return min(error.retry_after, _LONGEST_PAUSE)
    return _backoff(state)


async def _post_once(
    session: aiohttp.ClientSession, target: ApiTarget, path: str, body: Mapping[str, Any], expected: int
) -> Sequence[Mapping[str, Any]]:
    import aiohttp

    try:
        async with session.post(target.url + path, json=body) as response:
            if response.status in _BUSY:
                raise _Busy(f"status {response.status}", _seconds(response.headers.get("Retry-After")))
            if response.status == 413:
                raise _TooLarge
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _Busy(type(error).__name__) from error
    except ValueError:
        raise CallFailed(f"{target.url} answered something that is not JSON: is it a gateway?") from None
    if response.status >= 400:
        raise CallFailed(problem_line(response.status, answer))
    results = answer.get("results") if isinstance(answer, Mapping) else None
    if not isinstance(results, list) or len(results) != expected:
        raise CallFailed(f"{target.url} did not answer with one result per request: is it a gateway of this version?")
    return results


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of Retry-After (RFC 9110 section 10.2.3); for a date, the backoff is used."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _count(row: PortfolioRow, result: Mapping[str, Any], tally: Tally, options: SendOptions) -> None:
    if "id" not in result:
        problems = result.get("errors") or [{"pointer": "", "detail": result.get("detail") or result.get("title")}]
        first, *others = [
            RowError(row.line, dotted(str(each.get("pointer") or "")), str(each.get("detail") or "was refused"))
            for each in problems
        ]
        _reject(first, tally, options)
        for each in others:  # further errors of the same row are reported, and the row is counted once
            tally.errors.append(each)
            options.bad_row(each)
        return
    tally.ids.add(result["id"])
    if result.get("status") == 200 and not result.get("changed"):
        tally.replayed += 1
    else:
        tally.accepted += 1
