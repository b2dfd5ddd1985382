"""Middleware for every request: the X-Request-ID header, the span, the access log, and 500 for unhandled exceptions.

Must not read bodies.
"""

from __future__ import annotations

import re
import secrets
import time
from contextlib import nullcontext

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.http.problems import Problem, respond
from gateway.observability import logs, tracing

_NOT_LOGGED = frozenset({"/healthz", "/readyz"})  # polled every few seconds
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")  # it goes into logs: no blanks, no quotes, no line ends


class RequestId:
    """Takes X-Request-ID from the request or generates one, and returns it in the response.

    Pure ASGI middleware: Starlette's BaseHTTPMiddleware starts a task for each request and buffers streams.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["response_headers"] = {}  # what dependencies add to the response, whatever it is
        given = headers.get("x-request-id", "")
        request_id = scope["request_id"] = given if _SAFE.fullmatch(given) else secrets.token_hex(8)
        logs.request_id.set(request_id)
        status, began = 0, time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers.update(scope["response_headers"])
            await send(message)

        is_poll = scope["path"] in _NOT_LOGGED
        with nullcontext() if is_poll else tracing.request(headers, scope["method"], request_id) as span:
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                return  # no client is left to answer
            except Exception as error:
                structlog.get_logger("api").error(
                    "request_failed", request_id=request_id, method=scope["method"], route=_route(scope), exc_info=error
                )
                if not status:
                    await respond(Problem("internal"), request_id)(scope, receive, send_with_id)
            finally:
                route = _route(scope)
                tracing.answered(span, scope["method"], route, status)
                if not is_poll:
                    structlog.get_logger("gateway").info(
                        "answered",
                        request_id=request_id,
                        method=scope["method"],
                        route=route,
                        status_code=status,
                        milliseconds=round((time.monotonic() - began) * 1000, 1),
                    )


def _route(scope: Scope) -> str:
    """The route's pattern, never the path: paths hold borrowers' ids."""
    return getattr(scope.get("route"), "path", "")
