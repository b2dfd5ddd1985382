"""A loopback server that simulates Meta's Cloud API with signed webhooks, for demo and tests.

Owns the simulation. Must not know the gateway: it speaks HTTP only. It checks the token and the shape of a request, and
that templates exist, are approved and get all their parameters, as Meta does.

The last two digits of the recipient select the behaviour:

  00-89  sent, delivered
  88     and read
  90     accepted, then failed: 131026 (not on WhatsApp)
  91     accepted, then failed: 131050 (opted out)
  92     slow: delivered after ``slow_seconds``
  93     silent: accepted, and no webhook
  94     times out after accepting: the message is stored, the answer hangs, the webhooks come
  95     refused: 131021
  96     429 (130429) at the first try of a message, then as 00
  97     500 (131000) at the first try of a message, nothing stored, then as 00
  99     accepted, then failed: 131049 (frequency)
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from channels.loopback import LoopbackServer
from channels.received import Received, delivery_of

_FAILED = {"90": 131026, "91": 131050, "99": 131049}
_GAP = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_SHAPES = {"text", "template"}
_TOKEN_STATUS = 401


@dataclass(slots=True)
class SimulatedTemplate:
    """A template as Meta keeps it: ``text`` with ``{{1}}`` or ``{{name}}`` for each parameter."""

    text: str
    language: str
    status: str = "APPROVED"
    category: str = "UTILITY"


@dataclass(slots=True)
class WhatsAppMessage:
    """A message as the simulator keeps it; ``text`` as the person sees it."""

    id: str
    to: str
    text: str
    template: str
    tag: str


class Refused(Exception):
    """A request that Meta would refuse."""

    def __init__(self, status: int, code: int) -> None:
        super().__init__(str(code))
        self.status = status
        self.code = code


class WhatsAppSimulator(LoopbackServer):
    """Construct it, await ``start``, configure the provider's base_url with ``url``, and await ``stop``."""

    def __init__(
        self,
        phone_number_id: str,
        access_token: str,
        app_secret: str,
        callback_url: str = "",
        received: Received | None = None,
        delay_seconds: float = 0.0,
        slow_seconds: float = 5.0,
        hang_seconds: float = 120.0,
        port: int = 0,
    ) -> None:
        super().__init__(port, received)
        self._sender = phone_number_id
        self._token = access_token
        self._secret = app_secret
        self.callback_url = callback_url
        self._delay = delay_seconds
        self._slow = slow_seconds
        self._hang = hang_seconds
        self.templates: dict[tuple[str, str], SimulatedTemplate] = {}
        self.messages: list[WhatsAppMessage] = []
        self.windows: set[str] = set()  # numbers that have written to us
        self.account_subscribed = True
        self._tried: set[str] = set()

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/{version}/{sender}/messages", self._create)
        app.router.add_get("/{version}/{account}/message_templates", self._list_templates)
        app.router.add_get("/{version}/{account}/subscribed_apps", self._subscribed)
        app.router.add_get("/{version}/{sender}", self._number)

    async def write_as(self, number: str, text: str) -> None:
        """Have the user of a number (digits) write to the sender."""
        self.windows.add(number)
        message = {"from": number, "id": _id(), "timestamp": "0", "type": "text", "text": {"body": text}}
        await self._tell("messages", {**self._metadata(), "messages": [message]})

    def submit_template(self, name: str, language: str, text: str) -> None:
        """Submit a template, as people do in WhatsApp Manager. It is approved at once, which the webhook says."""
        self.templates[name, language] = SimulatedTemplate(text, language, "PENDING")
        self.later(self.set_template_status(name, language, "APPROVED"))

    async def set_template_status(self, name: str, language: str, event: str, reason: str = "NONE") -> None:
        """Change a template, and say so by webhook."""
        self.templates[name, language].status = event
        value = {
            "event": event,
            "message_template_id": 1,
            "message_template_name": name,
            "message_template_language": language,
            "reason": reason,
        }
        await self._tell("message_template_status_update", value)

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────────

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {self._token}".encode()):
            raise Refused(_TOKEN_STATUS, 190)

    async def _create(self, request: web.Request) -> web.Response:
        try:
            self._authenticate(request)
            if request.match_info["sender"] != self._sender:
                raise Refused(400, 100)
            body = await request.json()
            stored = self._accept(body)
        except Refused as refused:
            return _error(refused.status, refused.code)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return _error(400, 100)
        if stored.to[-2:] == "94":
            await asyncio.sleep(self._hang)
        contact = {"input": stored.to, "wa_id": stored.to}
        answer = {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": stored.id}]}
        return web.json_response(answer)

    def _accept(self, body: Mapping[str, Any]) -> WhatsAppMessage:
        to, kind, tag = body["to"].removeprefix("+"), body.get("type", "text"), body.get("biz_opaque_callback_data", "")
        if body["messaging_product"] != "whatsapp" or not to.isdigit() or kind not in _SHAPES:
            raise Refused(400, 100)
        text, name = self._said(kind, body[kind], to)
        magic = to[-2:]
        if magic == "95":
            raise Refused(400, 131021)
        if magic in ("96", "97") and (key := to + delivery_of(tag)) not in self._tried:
            self._tried.add(key)
            raise Refused(429, 130429) if magic == "96" else Refused(500, 131000)
        stored = WhatsAppMessage(_id(), to, text, name, tag)
        self.messages.append(stored)
        self.received.came(delivery_of(tag) or stored.id)
        if magic != "93":
            self.later(self._follow(stored))
        return stored

    def _said(self, kind: str, content: Mapping[str, Any], to: str) -> tuple[str, str]:
        if kind == "text":
            return content["body"], ""  # outside of the window, Meta accepts and reports 131047
        template = self.templates.get((content["name"], content["language"]["code"]))
        if template is None:
            raise Refused(404, 132001)
        if template.status != "APPROVED":
            raise Refused(400, 132015 if template.status == "PAUSED" else 132016)
        parameters = [each for part in content.get("components", ()) for each in part["parameters"]]
        gaps = list(dict.fromkeys(_GAP.findall(template.text)))
        names = [each.get("parameter_name", str(number)) for number, each in enumerate(parameters, 1)]
        if len(parameters) != len(gaps):
            raise Refused(400, 132000)
        values = {name: each["text"] for name, each in zip(names, parameters, strict=True)}
        if set(names) != set(gaps) or not all(values.values()) or any("\n" in value for value in values.values()):
            raise Refused(400, 132012)
        return _GAP.sub(lambda gap: values[gap[1]], template.text), content["name"]

    async def _list_templates(self, request: web.Request) -> web.Response:
        try:
            self._authenticate(request)
        except Refused as refused:
            return _error(refused.status, refused.code)
        found = [
            {"name": name, "language": language, "status": each.status, "category": each.category}
            for (name, language), each in self.templates.items()
        ]
        limit, after = int(request.query.get("limit", "25")), int(request.query.get("after", "0"))
        paging: dict[str, Any] = {"cursors": {"before": str(after), "after": str(after + limit)}}
        if len(found) > after + limit:
            paging["next"] = f"{self.url}{request.path}?after={after + limit}"
        return web.json_response({"data": found[after : after + limit], "paging": paging})

    async def _subscribed(self, request: web.Request) -> web.Response:
        app = {"whatsapp_business_api_data": {"id": "1", "name": "gateway"}}
        return web.json_response({"data": [app] if self.account_subscribed else []})

    async def _number(self, request: web.Request) -> web.Response:
        try:
            self._authenticate(request)
        except Refused as refused:
            return _error(refused.status, refused.code)
        webhook = {"webhook_configuration": {"application": self.callback_url}} if self.callback_url else {}
        return web.json_response({"id": self._sender, "quality_rating": "GREEN", **webhook})

    # ── webhooks ────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self, stored: WhatsAppMessage) -> None:
        magic = stored.to[-2:]
        await asyncio.sleep(self._slow if magic == "92" else self._delay)
        failed = _FAILED.get(magic) or (131047 if not stored.template and stored.to not in self.windows else None)
        if failed:
            self.received.failed(delivery_of(stored.tag) or stored.id)
            await self._report(stored, "failed", failed)
            return
        await self._report(stored, "sent")
        await asyncio.sleep(self._delay)
        await self._report(stored, "delivered")
        if magic == "88":
            await self._report(stored, "read")

    async def _report(self, stored: WhatsAppMessage, status: str, code: int | None = None) -> None:
        report: dict[str, Any] = {"id": stored.id, "status": status, "timestamp": "0", "recipient_id": stored.to}
        if stored.tag:
            report["biz_opaque_callback_data"] = stored.tag
        if code is not None:
            report["errors"] = [{"code": code, "title": "failed"}]
        await self._tell("messages", {**self._metadata(), "statuses": [report]})

    def _metadata(self) -> dict[str, Any]:
        metadata = {"display_phone_number": "15005550006", "phone_number_id": self._sender}
        return {"messaging_product": "whatsapp", "metadata": metadata}

    async def _tell(self, field: str, value: Mapping[str, Any]) -> None:
        if not self.callback_url:
            return
        entry = {"id": "account", "changes": [{"field": field, "value": value}]}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        await self.call_back(self.callback_url, body, sign(self._secret, body))


def sign(app_secret: str, body: bytes) -> dict[str, str]:
    """The headers of a webhook. Written out here rather than shared with the provider, so that the two are checked."""
    digest = hmac.new(app_secret.encode(), body, "sha256").hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


def _id() -> str:
    return f"wamid.{secrets.token_hex(16)}"


def _error(status: int, code: int) -> web.Response:
    error = {"message": f"(#{code})", "type": "OAuthException", "code": code, "fbtrace_id": "A"}
    return web.json_response({"error": error}, status=status)
