"""The clients: a connection pool, an API key, and retries."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_random_exponential

from .calls import Call
from .errors import NotReached, ProblemError
from .models import ProblemOut
from .operations import AsyncOperations, Operations

T = TypeVar("T", bound=BaseModel | None)

ATTEMPTS = 5  # our choice: with the pauses below, some fifteen seconds
_LONGEST_PAUSE = 30.0  # seconds; our choice. An answer that asks for a longer one is raised
_PAUSE = wait_random_exponential(multiplier=0.5, max=8)
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)  # seconds; our choice: accepting a batch of 1,000 takes one or two


class GatewayClient(Operations):
    """A blocking client. Close it, or use it in a ``with`` block; threads may share it."""

    def __init__(self, url: str, key: str, *, attempts: int = ATTEMPTS, timeout: httpx.Timeout = _TIMEOUT) -> None:
        """``url`` is the gateway's address, ``key`` an API key; ``attempts`` 1 means no retries."""
        self._attempts = attempts
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)

    def call(self, call: Call, answer: type[T]) -> T:
        """Make a call. Raises ProblemError, NotReached."""
        call = call.with_key()

        def attempt() -> T:
            try:
                response = self._http.request(**call.options())
            except httpx.TransportError as error:
                raise NotReached(type(error).__name__) from error
            return _answer(response, answer)

        return Retrying(
            retry=retry_if_exception(lambda error: _again(call, error)),
            stop=stop_after_attempt(self._attempts) | stop_after_delay(_LONGEST_PAUSE * self._attempts),
            wait=_pause,
            reraise=True,
        )(attempt)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> GatewayClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncGatewayClient(AsyncOperations):
    """A client for asyncio. Close it, or use it in an ``async with`` block; tasks may share it."""

    def __init__(self, url: str, key: str, *, attempts: int = ATTEMPTS, timeout: httpx.Timeout = _TIMEOUT) -> None:
        """``url`` is the gateway's address, ``key`` an API key; ``attempts`` 1 means no retries."""
        self._attempts = attempts
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)

    async def call(self, call: Call, answer: type[T]) -> T:
        """Make a call. Raises ProblemError, NotReached."""
        call = call.with_key()

        async def attempt() -> T:
            try:
                response = await self._http.request(**call.options())
            except httpx.TransportError as error:
                raise NotReached(type(error).__name__) from error
            return _answer(response, answer)

        return await AsyncRetrying(
            retry=retry_if_exception(lambda error: _again(call, error)),
            stop=stop_after_attempt(self._attempts) | stop_after_delay(_LONGEST_PAUSE * self._attempts),
            wait=_pause,
            reraise=True,
        )(attempt)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncGatewayClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Accept": "application/json", "User-Agent": "notification-gateway-client"}


def _answer(response: httpx.Response, answer: type[T]) -> T:
    """Raises ProblemError, NotReached."""
    try:
        if response.is_success:
            # Operations without an answer have 204 and no content.
            return TypeAdapter(answer).validate_json(response.content or b"null")
        problem = ProblemOut.model_validate_json(response.content)
    except ValidationError:
        # Not the gateway's own answer: a proxy's, or another program's.
        raise NotReached(f"status {response.status_code} without the API's content") from None
    seconds = response.headers.get("Retry-After", "")
    raise ProblemError(problem, float(seconds) if seconds.isdecimal() else None)


def _again(call: Call, error: BaseException) -> bool:
    if isinstance(error, ProblemError):
        return (error.retry_after or 0) <= _LONGEST_PAUSE and call.repeatable(error.problem.status)
    return isinstance(error, NotReached) and call.repeatable(None)


def _pause(state: RetryCallState) -> float:
    """What the gateway asked for, and a random part that keeps clients from coming back all at once."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ProblemError) else None
    return (asked or 0.0) + _PAUSE(state)
