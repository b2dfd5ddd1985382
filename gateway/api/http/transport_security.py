"""Strict-Transport-Security (RFC 6797): browsers that were here once by HTTPS never come by plain HTTP again."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "max-age=31536000"  # seconds: one year, what hstspreload.org asks for


class StrictTransport:
    """Adds the header to every response of ``app``. For gateways whose public URL is https only (section 7.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Strict-Transport-Security"] = _POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy)
