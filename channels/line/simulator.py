"""A loopback server that simulates LINE's Messaging API with signed webhooks, for demo and tests.

Owns the simulation. Must not know the gateway: it speaks HTTP only. It checks the token, the shape of a request and its
retry key, as LINE does.

The last two digits of a user's id, or of the number whose digest was told by ``knows``, select the behaviour:

  00-89  accepted; of a notification message, the delivery is reported
  90     accepted, and never delivered: the account is blocked, or the number has no LINE
  94     times out after accepting: the message is stored, the answer hangs
  95     refused: nobody here has this id
  96     429 at the first try of a message, then as 00
  97     500 at the first try of a message, nothing stored, then as 00
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import web

from channels.loopback import LoopbackServer
from channels.received import Received, delivery_of

_USER = re.compile(r"U[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class LineMessage:
    """A message as the simulator keeps it. ``to`` is a user's id, or a number's digest."""

    to: str
    text: str
    template: str = ""
    tag: str = ""


class LineSimulator(LoopbackServer):
    """Construct it, await ``start``, configure the provider's base_url with ``url``, and await ``stop``."""

    def __init__(
        self,
        channel_access_token: str,
        channel_secret: str,
        callback_url: str = "",
        received: Received | None = None,
        delay_seconds: float = 0.0,
        hang_seconds: float = 120.0,
        port: int = 0,
    ) -> None:
        super().__init__(port, received)
        self._token = channel_access_token
        self._secret = channel_secret
        self.callback_url = callback_url
        self._delay = delay_seconds
        self._hang = hang_seconds
        self.messages: list[LineMessage] = []
        self.templates: dict[str, frozenset[str]] = {}  # the item keys of each template key
        self.webhook: dict[str, Any] = {"endpoint": callback_url, "active": True}
        self._numbers: dict[str, str] = {}
        self._keys: dict[str, str] = {}  # retry key → id of the request that was accepted
        self._tried: set[str] = set()

    def routes(self, app: web.Application) -> None:
        app.middlewares.append(self._authenticate)
        app.router.add_post("/v2/bot/message/push", self._push)
        app.router.add_post("/v2/bot/message/pnp/templated/push", self._notify)
        app.router.add_get("/v2/bot/info", self._info)
        app.router.add_get("/v2/bot/channel/webhook/endpoint", self._webhook)
        app.router.add_get("/v2/bot/message/quota", self._quota)
        app.router.add_get("/v2/bot/message/quota/consumption", self._consumption)

    def knows(self, number: str) -> None:
        """Tell a number in E.164, so that its digest is recognised."""
        self._numbers[hashlib.sha256(number.encode()).hexdigest()] = number

    async def tell(self, *events: Mapping[str, Any]) -> None:
        """Send these events to the webhook."""
        if self.callback_url:
            body = json.dumps({"destination": "U" + "0" * 32, "events": events}).encode()
            await self.call_back(self.callback_url, body, sign(self._secret, body))

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {self._token}".encode()):
            return web.json_response({"message": "Authentication failed"}, status=401)
        try:
            response: web.StreamResponse = await handler(request)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return web.json_response({"message": "The request body has 1 error(s)"}, status=400)
        response.headers["X-Line-Request-Id"] = secrets.token_hex(16)
        return response

    async def _push(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        to, messages = body["to"], body["messages"]
        if not _USER.fullmatch(to):
            return _refused("The property, 'to', in the request body is invalid (line: -, column: -)")
        (message,) = messages
        if message["type"] != "text" or not 0 < len(message["text"]) <= 5000:
            return _refused("The request body has 1 error(s)", "messages[0].text")
        key = str(UUID(request.headers["X-Line-Retry-Key"])) if "X-Line-Retry-Key" in request.headers else ""
        if key in self._keys:
            accepted = {"X-Line-Accepted-Request-Id": self._keys[key]}
            return web.json_response({"message": "The retry key is already accepted"}, status=409, headers=accepted)
        if refusal := self._trouble(to[-2:], key or to):
            return refusal
        stored = LineMessage(to, message["text"])
        if key:
            self._keys[key] = secrets.token_hex(16)
        self._store(stored, key, to[-2:])
        if to[-2:] == "94":
            await asyncio.sleep(self._hang)
        return web.json_response({"sentMessages": [{"id": secrets.token_hex(8), "quoteToken": "q"}]})

    async def _notify(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        to, tag = body["to"], request.headers.get("X-Line-Delivery-Tag", "")
        if not _DIGEST.fullmatch(to) or "X-Line-Retry-Key" in request.headers or not 16 <= len(tag or " " * 16) <= 100:
            return _refused("The property, 'to', in the request body is invalid (line: -, column: -)")
        if body["templateKey"] not in self.templates:
            return _refused("The request body has 1 error(s)", "templateKey")
        content = body.get("body", {})
        items = [*content.get("items", ()), *filter(None, [content.get("emphasizedItem")])]
        if {each["itemKey"] for each in items} - self.templates[body["templateKey"]] or len(items) > 16:
            return _refused("The request body has 1 error(s)", "body.items[0].itemKey")
        magic = self._numbers.get(to, "00")[-2:]
        if refusal := self._trouble(magic, to + delivery_of(tag)):
            return refusal
        said = "\n".join(each["content"] for each in items)
        self._store(LineMessage(to, said, body["templateKey"], tag), tag, magic)
        if magic == "94":
            await asyncio.sleep(self._hang)
        return web.json_response({})

    def _trouble(self, magic: str, key: str) -> web.Response | None:
        if magic == "95":
            return _refused("Failed to send messages")
        if magic in ("96", "97") and key not in self._tried:
            self._tried.add(key)
            return web.json_response({"message": "busy"}, status=429 if magic == "96" else 500)
        return None

    def _store(self, stored: LineMessage, key: str, magic: str) -> None:
        self.messages.append(stored)
        self.received.came(delivery_of(key) if key else str(len(self.messages)))
        if stored.tag and magic != "90":
            self.later(self._report(stored))

    async def _report(self, stored: LineMessage) -> None:
        await asyncio.sleep(self._delay)
        await self.tell({"type": "delivery", "webhookEventId": secrets.token_hex(13), "delivery": {"data": stored.tag}})

    async def _info(self, request: web.Request) -> web.StreamResponse:
        modes = {"chatMode": "bot", "markAsReadMode": "auto"}
        return web.json_response({"userId": "U" + "0" * 32, "basicId": "@lender", "displayName": "Lender", **modes})

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.webhook)

    async def _quota(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"type": "limited", "value": 1000})

    async def _consumption(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"totalUsage": len(self.messages)})


def sign(channel_secret: str, body: bytes) -> dict[str, str]:
    """The headers of a webhook. Written out here rather than shared with the provider, so that the two are checked."""
    digest = base64.b64encode(hmac.new(channel_secret.encode(), body, hashlib.sha256).digest()).decode()
    return {"X-Line-Signature": digest, "Content-Type": "application/json"}


def _refused(message: str, field: str = "") -> web.Response:
    details = [{"message": "invalid", "property": field}] if field else []
    return web.json_response({"message": message, "details": details}, status=400)
