"""The HTTP side of the Twilio SDK: one pooled aiohttp session in place of the SDK's own client.

Owns connection limits, timeouts, the base URL, and telling "surely not sent" from "may have been sent". The SDK's
client does none of it: its timeout is never applied, its retries repeat POSTs (a second SMS), and its exceptions
lose Retry-After. Must not know what Twilio's codes mean.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from yarl import URL

from channels.base import ProviderReason, TransientFailure, UnknownOutcome

API = "https://api.twilio.com"

# The SDK logs URLs, query parameters (phone numbers) and headers at INFO.
_SILENT = logging.getLogger("channels.twilio.sdk")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_SILENT.setLevel(logging.CRITICAL)


class TwilioRefused(Exception):
    """Twilio answered, and not with success. ``code`` is Twilio's own, empty where the answer had none."""

    def __init__(self, status: int, code: str, retry_after: float | None) -> None:
        super().__init__(f"HTTP {status} {code}".strip())
        self.status = status
        self.code = code
        self.retry_after = retry_after


class TwilioHttpClient(AsyncHttpClient):  # type: ignore[misc]  # the SDK is untyped
    """Build it inside a running loop: aiohttp's session belongs to one.

    ``request`` raises Refused for every answer of 400 and above, TransientFailure where no connection was made,
    and UnknownOutcome where one was lost or timed out.
    """

    def __init__(self, base_url: str, timeout_seconds: float, connections: int) -> None:
        super().__init__(_SILENT, True, timeout_seconds)
        self._base_url = base_url.rstrip("/")
        self._authorization: tuple[tuple[str, str], str] | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            # The connect limit covers the wait for a free connection too, and is shorter than the whole, so that
            # a total timeout always means that the request was under way.
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 2),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """One request, once. See the class for what it raises."""
        if url.startswith(API):
            url = self._base_url + url[len(API) :]
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = self._basic(auth)
        query = {name: str(value) for name, value in params.items()} if params else None
        body = _form(data) if data else None
        try:
            async with self._session.request(
                method, url, params=query, data=body, headers=sent, allow_redirects=False
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise TransientFailure(ProviderReason.CONNECTION_FAILED) from None
        except TimeoutError:
            raise UnknownOutcome(ProviderReason.TIMEOUT) from None
        except (aiohttp.ClientError, OSError, UnicodeError):
            # Among them a kept-alive connection that the server closed as we wrote: it may have read the request.
            raise UnknownOutcome(ProviderReason.CONNECTION_LOST) from None
        if answer.status >= 300:
            raise TwilioRefused(answer.status, _code(text), _retry_after(answer.headers))
        return Response(answer.status, text, answer.headers)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _basic(self, auth: tuple[str, str]) -> str:
        # aiohttp deprecates ``auth=``; the header is the same for every request of an account.
        if self._authorization is None or self._authorization[0] != auth:
            token = base64.b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()
            self._authorization = (auth, f"Basic {token}")
        return self._authorization[1]


def _form(data: Mapping[str, object]) -> bytes:
    """``application/x-www-form-urlencoded``, by the HTTP client's own encoder: urllib's takes three times as long."""
    plain = {name: list(map(str, value)) if isinstance(value, list) else str(value) for name, value in data.items()}
    return URL.build(query=plain).raw_query_string.encode()


def _code(text: str) -> str:
    try:
        answer: Any = json.loads(text)
    except ValueError:
        return ""
    code = answer.get("code") if isinstance(answer, dict) else None
    return str(code) if isinstance(code, int | str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date, which the answer's own Date makes seconds of the server's clock."""
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, wait.total_seconds())
