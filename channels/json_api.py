"""HTTP calls of providers that have no client library here: one pooled session, and what each trouble proves.

Owns limits, time-outs and telling "surely not sent" from "may have been sent". Must not know any provider.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from channels.base import ProviderReason, TransientFailure, UnknownOutcome

_LARGEST_ANSWER = 1_000_000  # bytes; our choice: a page of 100 templates with their texts is a third of it


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """An HTTP answer. ``body`` is the JSON object in it, and empty where there is none."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def retry_after(self) -> float | None:
        """The seconds of ``Retry-After`` (RFC 9110 section 10.2.3), where it has some."""
        value = self.headers.get("Retry-After", "")
        return float(value) if value.isascii() and value.isdigit() else None


class JsonApi:
    """Calls below one base URL. The session is made at the first call, because it belongs to the loop that calls."""

    def __init__(self, base_url: str, timeout_seconds: float, connections: int) -> None:
        self._base = URL(base_url.rstrip("/"), encoded=True)
        # The connect limit covers the wait for a free connection too, and is shorter than the whole, so that a total
        # time-out always means that the request was under way.
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 2)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    @property
    def host(self) -> str:
        """The host, with the port where it is not the scheme's own, as in the header ``Host``."""
        return self._base.authority if self._base.explicit_port else self._base.host or ""

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JsonAnswer:
        """One request, once; any answer is returned.

        Raises: TransientFailure where no connection was made, UnknownOutcome where one was lost or timed out.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        url = URL(f"{self._base}{path}", encoded=True).update_query(query or {})
        try:
            async with self._session.request(
                method, url, data=body, headers=dict(headers or {}), allow_redirects=False
            ) as answer:
                raw = await answer.content.read(_LARGEST_ANSWER + 1)
                while len(raw) <= _LARGEST_ANSWER and (more := await answer.content.read(_LARGEST_ANSWER)):
                    raw += more
                return JsonAnswer(answer.status, _object(raw), answer.headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise TransientFailure(ProviderReason.CONNECTION_FAILED) from None
        except TimeoutError:
            raise UnknownOutcome(ProviderReason.TIMEOUT) from None
        except (aiohttp.ClientError, OSError):
            raise UnknownOutcome(ProviderReason.CONNECTION_LOST) from None

    async def close(self) -> None:
        """Close all connections; a later call opens anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def encoded(body: Mapping[str, Any]) -> bytes:
    """A JSON object as it is sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _object(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > _LARGEST_ANSWER:
        return {}
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
