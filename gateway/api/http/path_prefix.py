"""A path prefix under which a proxy publishes the gateway (the path of GATEWAY_PUBLIC_URL).

Owns both directions: the prefix is taken from the paths of requests where the proxy has left it, and put before the
paths in the headers ``Location`` and ``Link``. The routes know nothing of it; bodies take it from ``HttpSettings``.
"""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Attributes of our pages that have a path of this host; "//" would be another host.
_PATHS = re.compile(r'(\s(?:href|src|action|formaction|hx-get|hx-post)=")/(?!/)')


class PathPrefix:
    """Serves ``app``, whose routes begin at ``/``, under ``prefix`` (``/reminders``)."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_prefix(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("location", "").startswith("/"):
                    headers["location"] = self._prefix + headers["location"]
                if headers.get("link", "").startswith("</"):
                    headers["link"] = f"<{self._prefix}{headers['link'][1:]}"
            await send(message)

        path, raw = scope["path"], scope.get("raw_path", b"").decode("latin-1")
        inside = {"path": self._without(path), "raw_path": self._without(raw).encode("latin-1")}
        await self._app({**scope, **inside}, receive, send_with_prefix)

    def _without(self, path: str) -> str:
        rest = path.removeprefix(self._prefix)
        return rest if rest.startswith("/") else path


def with_prefix(page: str, prefix: str) -> str:
    """A page of ours whose links, forms and files are under the prefix. What users wrote in it is escaped before."""
    return _PATHS.sub(rf"\g<1>{prefix}/", page) if prefix else page
