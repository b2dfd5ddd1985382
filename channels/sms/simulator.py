"""A loopback server that simulates Twilio's Messages API with signed status callbacks, for demo and tests.

Owns the simulation. Must not know the gateway: it speaks HTTP only.

The last two digits of the To number select the behaviour:

  00-89  delivered
  90     undelivered, 30003 (handset unreachable)
  91     refused at create, 21610 (the recipient sent STOP)
  92     slow: delivered after ``slow_seconds``
  93     silent: queued, and never a callback
  94     times out after accepting: the message is stored, the answer hangs, the callbacks come
  95     refused at create, 21211 (not a number)
  96     429 with Retry-After at the first try of a delivery, then as 00
  97     503 at the first try of a delivery, nothing stored, then as 00
  98     undelivered, 30007 (filtered)
  99     undelivered, 30005 (unknown handset)
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
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
from aiohttp import web

from channels.options import Clock
from channels.received import Received, delivery_of
from channels.twilio.shapes import Stored, dates_match, error, resource, sign

_UNDELIVERED = {"90": 30003, "98": 30007, "99": 30005}
_REFUSED = {
    "91": (21610, "Attempt to send to unsubscribed recipient"),
    "95": (21211, "The 'To' number is not a valid phone number."),
}
_GAP = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_CALLBACKS_AT_ONCE = 32  # our choice: concurrent callbacks that one web server can handle
_CALLBACK_TRIES = 6  # Twilio's maximum: the first and five retries (rc=5)
_CALLBACK_BACKOFF = 0.2  # seconds, doubled at each retry; our choice
_LONGEST_BODY = 1600  # characters; Twilio's limit, error 21617


@dataclass(slots=True)
class SmsSimulator:
    """Construct it, await ``start``, configure the provider's base_url with ``url``, and await ``stop``."""

    account_sid: str
    auth_token: str
    clock: Clock
    received: Received = field(default_factory=Received)
    delay_seconds: float = 0.0  # before each of the callbacks "sent" and "delivered"
    slow_seconds: float = 5.0
    contents: Mapping[str, str] = field(default_factory=dict)  # texts of content templates ({{1}}) by their SID
    hang_seconds: float = 120.0  # the delay of the answer for 94: above any reasonable client's time-out; our choice
    port: int = 0
    messages: dict[str, Stored] = field(default_factory=dict)
    callbacks_sent: int = 0
    callbacks_failed: int = 0
    _tried: set[tuple[str, str]] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _by_number: dict[str, list[Stored]] = field(default_factory=dict)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CALLBACKS_AT_ONCE))
    _session: aiohttp.ClientSession | None = None
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The URL that it listens on."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen on loopback. Sets ``port`` where it was 0."""
        app = web.Application(middlewares=[self._authenticate])
        account = f"/2010-04-01/Accounts/{self.account_sid}"
        prefix = f"{account}/Messages"
        app.router.add_get(f"{account}.json", self._account)
        app.router.add_post(f"{prefix}.json", self._create)
        app.router.add_get(f"{prefix}.json", self._list)
        app.router.add_get(f"{prefix}/{{sid}}.json", self._fetch)
        app.router.add_get("/_simulator/summary", self._summary)
        app.router.add_get("/_simulator/messages", self._messages)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CALLBACKS_AT_ONCE),
            timeout=aiohttp.ClientTimeout(total=15),  # Twilio waits 15 s for a callback's answer
        )
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=512)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and cancel pending callbacks."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/2010-04-01/"):
            expected = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Basic {expected}".encode()):
                return error(401, 20003, "Authenticate")
        response: web.StreamResponse = await handler(request)
        return response

    async def _account(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"sid": self.account_sid, "status": "active", "type": "Full"})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        to = form.get("To", "")
        body = self._content(form) if form.get("ContentSid") else form.get("Body", "")
        # Like Twilio, read only the retry settings from the URL's fragment.
        callback = form.get("StatusCallback", "").partition("#")[0]
        reference = parse_qs(urlsplit(callback).query).get("ref", [""])[0]
        if refusal := self._refusal(to, body, form, reference):
            return refusal
        stored = self._store(to, body, form.get("From") or form["MessagingServiceSid"], callback, reference)
        if stored.to[-2:] == "94":
            await asyncio.sleep(self.hang_seconds)
        return web.json_response(resource(self.account_sid, stored), status=201)

    def _content(self, form: Mapping[str, str]) -> str:
        """The text of a content template with its variables; "" where there is no such template."""
        values = json.loads(form.get("ContentVariables") or "{}")
        return _GAP.sub(lambda gap: str(values[gap[1]]), self.contents.get(form["ContentSid"], ""))

    def _refusal(self, to: str, body: str, form: Mapping[str, str], reference: str) -> web.Response | None:
        if not to:
            return error(400, 21604, "A 'To' phone number is required.")
        if not body:
            return error(400, 21602, "Message body is required.")
        if len(body) > _LONGEST_BODY:
            return error(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
        if not form.get("From") and not form.get("MessagingServiceSid"):
            return error(400, 21603, "A 'From' phone number is required.")
        validity = form.get("ValidityPeriod", "1")
        if not validity.isdigit() or not 1 <= int(validity) <= 36_000:
            return error(400, 21641, "ValidityPeriod must be from 1 to 36000.")
        magic = to[-2:]
        if magic in _REFUSED:
            return error(400, *_REFUSED[magic])
        if magic in ("96", "97") and (first := (to, delivery_of(reference))) not in self._tried:
            self._tried.add(first)
            if magic == "96":
                return error(429, 20429, "Too Many Requests", {"Retry-After": "1"})
            # The answer of a load balancer: no JSON, no error code.
            return web.Response(status=503, text="upstream unavailable")
        return None

    def _store(self, to: str, body: str, sender: str, callback: str, reference: str) -> Stored:
        stored = Stored(f"SM{secrets.token_hex(16)}", to, sender, body, callback, reference, self.clock())
        self.messages[stored.sid] = stored
        self._by_number.setdefault(to, []).append(stored)
        self.received.came(delivery_of(reference) or stored.sid)
        if to[-2:] != "93":
            task = asyncio.create_task(self._follow(stored))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return stored

    async def _follow(self, stored: Stored) -> None:
        """Send the status callbacks of a message, one for each step to the handset."""
        magic = stored.to[-2:]
        await asyncio.sleep(self.slow_seconds if magic == "92" else self.delay_seconds)
        stored.status, stored.sent = "sent", self.clock()
        await self._call_back(stored)
        await asyncio.sleep(self.delay_seconds)
        if code := _UNDELIVERED.get(magic):
            stored.status, stored.error = "undelivered", code
            self.received.failed(delivery_of(stored.reference) or stored.sid)
        else:
            stored.status = "delivered"
        await self._call_back(stored)

    async def _call_back(self, stored: Stored) -> None:
        if not stored.callback:
            return
        params = {
            "AccountSid": self.account_sid,
            "ApiVersion": "2010-04-01",
            "From": stored.sender,
            "MessageSid": stored.sid,
            "MessageStatus": stored.status,
            "SmsSid": stored.sid,
            "SmsStatus": stored.status,
            "To": stored.to,
        }
        if stored.error is not None:
            params["ErrorCode"] = str(stored.error)
        headers = {
            "X-Twilio-Signature": sign(self.auth_token, stored.callback, params),
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        }
        body = urlencode(params).encode()
        for attempt in range(_CALLBACK_TRIES):
            if attempt:
                await asyncio.sleep(_CALLBACK_BACKOFF * 2 ** (attempt - 1))
            async with self._gate:
                if await self._post(stored.callback, body, headers):
                    self.callbacks_sent += 1
                    return
        self.callbacks_failed += 1

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bool:
        assert self._session is not None  # started
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status < 500
        return False

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        found = self._by_number.get(query["To"], []) if "To" in query else list(self.messages.values())
        # Newest first, as Twilio lists them; a message without DateSent never matches a date filter.
        found = [stored for stored in reversed(found) if dates_match(stored, query)]
        size = min(int(query.get("PageSize", "50")), 1000)
        page = int(query.get("Page", "0"))
        more = len(found) > (page + 1) * size
        following = dict(query) | {"Page": str(page + 1), "PageSize": str(size)}
        return web.json_response(
            {
                "messages": [resource(self.account_sid, each) for each in found[page * size : (page + 1) * size]],
                "page": page,
                "page_size": size,
                "uri": str(request.rel_url),
                "next_page_uri": f"{request.path}?{urlencode(following)}" if more else None,
            }
        )

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        stored = self.messages.get(request.match_info["sid"])
        if stored is None:
            return error(404, 20404, "The requested resource was not found")
        return web.json_response(resource(self.account_sid, stored))

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.summary())

    def summary(self) -> dict[str, int]:
        """The counts of messages, duplicates and callbacks."""
        callbacks = {"callbacks_sent": self.callbacks_sent, "callbacks_failed": self.callbacks_failed}
        return self.received.summary() | callbacks

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            [
                {
                    "sid": each.sid,
                    "to": each.to,
                    "reference": each.reference,
                    "status": each.status,
                    "body_sha256": hashlib.sha256(each.body.encode()).hexdigest(),
                }
                for each in self.messages.values()
            ]
        )
