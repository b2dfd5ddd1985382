"""A loopback server that simulates the API of a WeChat service account with encrypted callbacks, for demo and tests.

Owns the simulation. Must not know the gateway: it speaks HTTP only. It checks the token, the shape of a request, and
that the template and its keys exist, as WeChat does; a repeated ``client_msg_id`` sends nothing again.

The last two characters of the openid select the behaviour:

  90  accepted, then failed: the user blocks the account
  91  accepted, then failed: system failed
  93  silent: accepted, and no callback
  94  times out after accepting: the message is stored, the answer hangs, the callback comes
  95  refused: 40003
  96  45011 at the first try of a message
  97  HTTP 500 at the first try of a message, nothing stored
  98  refused: 43004 (no follower)
  all others: delivered
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from channels.loopback import LoopbackServer
from channels.received import Received

_STATUSES = {"90": "failed:user block", "91": "failed: system failed"}
_REFUSED = {"95": 40003, "98": 43004}


@dataclass(slots=True)
class WeChatMessage:
    """A message as the simulator keeps it."""

    number: int
    openid: str
    template: str
    values: dict[str, str]


class WeChatSimulator(LoopbackServer):
    """Construct it, await ``start``, configure the provider's base_url with ``url``, and await ``stop``."""

    def __init__(
        self,
        app_id: str,
        app_secret: str,
        token: str,
        encoding_aes_key: str,
        callback_url: str = "",
        received: Received | None = None,
        hang_seconds: float = 120.0,
        port: int = 0,
    ) -> None:
        super().__init__(port, received)
        self._app_id = app_id
        self._app_secret = app_secret
        self._signing_token = token
        self._key = base64.b64decode(encoding_aes_key + "=")
        self.callback_url = callback_url
        self._hang = hang_seconds
        self.templates: dict[str, frozenset[str]] = {}  # the keys of each template
        self.messages: list[WeChatMessage] = []
        self.tokens_given = 0
        self._access = secrets.token_urlsafe(30)
        self._sent: dict[tuple[str, str], WeChatMessage] = {}
        self._tried: set[str] = set()

    def routes(self, app: web.Application) -> None:
        app.middlewares.append(self._authenticate)
        app.router.add_post("/cgi-bin/stable_token", self._stable_token)
        app.router.add_post("/cgi-bin/message/template/send", self._send)
        app.router.add_post("/cgi-bin/message/custom/send", self._custom)
        app.router.add_get("/cgi-bin/template/get_all_private_template", self._templates)

    def expire_token(self) -> None:
        """Let the access token end before its time, as a changed secret does."""
        self._access = secrets.token_urlsafe(30)

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/cgi-bin/stable_token" and request.query.get("access_token") != self._access:
            return web.json_response({"errcode": 40001, "errmsg": "invalid credential"})
        try:
            response: web.StreamResponse = await handler(request)
        except (ValueError, KeyError, TypeError, AttributeError):
            return web.json_response({"errcode": 47001, "errmsg": "data format error"})
        return response

    async def _stable_token(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["grant_type"] != "client_credential" or body["appid"] != self._app_id:
            return web.json_response({"errcode": 40013, "errmsg": "invalid appid"})
        if body["secret"] != self._app_secret:
            return web.json_response({"errcode": 40125, "errmsg": "invalid appsecret"})
        if body.get("force_refresh"):
            self.expire_token()
        self.tokens_given += 1
        return web.json_response({"access_token": self._access, "expires_in": 7200})

    async def _send(self, request: web.Request) -> web.Response:
        body = await request.json()
        openid, template, key = body["touser"], body["template_id"], body["client_msg_id"]
        values = {name: each["value"] for name, each in body["data"].items()}
        if template not in self.templates:
            return web.json_response({"errcode": 40037, "errmsg": "invalid template_id"})
        if set(values) != self.templates[template] or not all(values.values()):
            return web.json_response({"errcode": 47003, "errmsg": "argument invalid"})
        magic = openid[-2:]
        if code := _REFUSED.get(magic):
            return web.json_response({"errcode": code, "errmsg": "refused"})
        if magic in ("96", "97") and key not in self._tried:
            self._tried.add(key)
            return web.json_response({"errcode": 45011}) if magic == "96" else web.Response(status=500, text="down")
        known = self._sent.get((openid, key))
        stored = known or WeChatMessage(secrets.randbelow(10**15), openid, template, values)
        if known is None:
            self._sent[openid, key] = stored
            self.messages.append(stored)
            self.received.came(key)
            if magic != "93":
                self.later(self._finish(stored))
            if magic == "94":
                await asyncio.sleep(self._hang)
        return web.json_response({"errcode": 0, "errmsg": "ok", "msgid": stored.number})

    async def _custom(self, request: web.Request) -> web.Response:
        body = await request.json()
        text = {"content": body["text"]["content"]}
        self.messages.append(WeChatMessage(0, body["touser"], "", text))
        return web.json_response({"errcode": 0, "errmsg": "ok"})

    async def _templates(self, request: web.Request) -> web.Response:
        return web.json_response({"template_list": [{"template_id": each, "title": each} for each in self.templates]})

    async def _finish(self, stored: WeChatMessage) -> None:
        status = _STATUSES.get(stored.openid[-2:], "success")
        fields = {"Event": "TEMPLATESENDJOBFINISH", "MsgID": str(stored.number), "Status": status}
        await self.tell(stored.openid, {"MsgType": "event", **fields})

    async def tell(self, openid: str, fields: Mapping[str, str]) -> None:
        """Send an event or a message of a user to the account's server."""
        if not self.callback_url:
            return
        joint = "&" if "?" in self.callback_url else "?"
        query, body = self.encrypted(openid, fields)
        await self.call_back(f"{self.callback_url}{joint}{query}", body, {"Content-Type": "text/xml"})

    def encrypted(self, openid: str, fields: Mapping[str, str]) -> tuple[str, bytes]:
        """The query and the body of a callback."""
        everything = {"ToUserName": "gh_1", "FromUserName": openid, "CreateTime": "1714037059", **fields}
        text = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in everything.items())
        message = f"<xml>{text}</xml>".encode()
        plain = secrets.token_bytes(16) + len(message).to_bytes(4, "big") + message + self._app_id.encode()
        rest = 32 - len(plain) % 32
        encryptor = Cipher(algorithms.AES(self._key), modes.CBC(self._key[:16])).encryptor()
        sealed = base64.b64encode(encryptor.update(plain + bytes([rest]) * rest) + encryptor.finalize()).decode()
        parts = sorted([self._signing_token, "1714037059", "486452656", sealed])
        digest = hashlib.sha1("".join(parts).encode()).hexdigest()
        query = f"timestamp=1714037059&nonce=486452656&encrypt_type=aes&msg_signature={digest}"
        return query, f"<xml><ToUserName>gh_1</ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>".encode()
