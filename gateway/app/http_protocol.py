"""HTTP/1.1 at the socket, with limits that hold before any application code runs.

uvicorn's httptools protocol has no limit on the size of a request's head, on the time in which it arrives, or on
connections that send nothing (slow-loris). This subclass adds them. Must not know routes.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of one process. Sizes are bytes, times seconds.

    ``url`` is what RFC 9112 section 3 recommends as a minimum. The others are our choice: ``head`` and
    ``head_seconds`` are at the upper end of what proxies allow by default, ``body_seconds`` lets 4 MiB arrive at
    70 kB/s, and ``connections`` stays below the usual limit of 1,024 open files with room for the ledger and providers.
    """

    url: int = 8_000
    head: int = 32_768
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    connections: int = 800


_DETAILS = {
    408: ("The request took too long", "Send the whole request sooner."),
    414: ("The URL is too long", "Send values in the body."),
    431: ("The header fields are too large", "Send fewer or shorter header fields."),
    503: ("Too many connections are open", "Try again after a moment, and keep fewer connections open."),
}


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. A request beyond a limit is answered with 408, 414, 431 or 503, and the connection is closed."""

    def __init__(self, limits: HttpLimits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._head_open = True  # the head of the current request is not complete
        self._body_open = False
        self._head_bytes = 0  # received of an incomplete head
        self._completed = False  # a request ended within the data that is being read
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse(503)
        else:
            self._arm(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._completed = False
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._head_open:
            if not self._completed:  # else these are the end of a request, and at most one read's worth of the next
                self._head_bytes += len(data)
            if self._head_bytes > self._limits.head + self._limits.url:
                self._refuse(414 if len(self.url or b"") > self._limits.url else 431)
            # Between requests uvicorn's keep-alive timer runs; and the next request must not cut off a slow answer.
            elif self._deadline is None and not self._completed and not self._owes_answer():
                self._arm(self._limits.head_seconds)
        elif self._body_open and self._deadline is None:
            self._arm(self._limits.body_seconds)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_open = True

    def on_headers_complete(self) -> None:
        self._disarm()
        self._head_open, self._body_open, self._head_bytes = False, True, 0
        if len(self.url) > self._limits.url:
            self._refuse(414)
        elif sum(len(name) + len(value) for name, value in self.headers) > self._limits.head:
            self._refuse(431)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._disarm()
        self._body_open, self._head_open, self._completed = False, True, True
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            self._refused = True
            super().send_400_response(msg)

    def _owes_answer(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._expired)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        self._deadline = None
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer with ``status`` unless another answer is due first, and close the connection."""
        self._refused = True
        self._disarm()
        self._unset_keepalive_if_required()
        # A pipelined request waits for its predecessor's answer, which a refusal must not replace.
        is_current = self._body_open and status == 408
        answering = self._owes_answer() and not is_current
        if not answering and not (is_current and self.cycle.response_started):
            title, detail = _DETAILS[status]
            body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
            self.transport.write(
                STATUS_LINE[status]
                + b"".join(b"%s: %s\r\n" % field for field in self.server_state.default_headers)
                + b"content-type: application/problem+json\r\nconnection: close\r\n"
                + (b"retry-after: 5\r\n" if status == 503 else b"")
                + b"content-length: %d\r\n\r\n" % len(body)
                + body
            )
        self.transport.close()


def limited_protocol(limits: HttpLimits) -> type[asyncio.Protocol]:
    """What uvicorn calls for each connection, as its ``http`` setting."""

    def make(**given: Any) -> LimitedHttpProtocol:
        return LimitedHttpProtocol(limits, **given)

    return cast("type[asyncio.Protocol]", make)
