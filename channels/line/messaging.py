"""LINE's Messaging API, both directions, for push messages and for notification messages.

Owns how LINE's answers map to ours. Must not know who calls it. LINE has no receipt for a push message, and answers 200
even if the user has blocked the account; of a notification message it reports the delivery alone, within 24 hours.
One official account has one webhook: its events are read by whichever of the two providers it is registered for.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

from channels.base import (
    Accepted,
    Advice,
    BadSignature,
    CallbackEvents,
    CallbackRequest,
    Capability,
    Keyword,
    LookupAnswer,
    LookupResult,
    MalformedCallback,
    Message,
    PermanentFailure,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    Silence,
    TemplateCall,
    TransientFailure,
    UnknownOutcome,
)
from channels.json_api import JsonAnswer, JsonApi, encoded
from channels.options import Clock, ProviderOptions, service
from channels.outcomes import load_table
from channels.sign_off import SIGN_OFF_OPTIONS, permitted_categories

_API = "https://api.line.me"
_USER = "line"  # the identity of user ids, which is the channel's of push messages
_RETRIED_FOR = timedelta(hours=23)  # LINE keeps retry keys for 24 hours; an hour of ours for clocks and queues
_DELIVERED_WITHIN = timedelta(hours=24)  # without a delivery event by then, LINE says, it was not delivered
# The prefixes of slots that are no plain item of LINE's template.
_EMPHASIZED, _BUTTON = "emphasized__", "button__"

_OPTIONS = frozenset({"channel_access_token", "channel_secret", "base_url", "timeout_seconds", "concurrency"})


class LineProvider:
    """What both kinds of message have in common. Options: see ``from_options`` of the two."""

    channel: str

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._token = options.text("channel_access_token")
        self._secret = options.text("channel_secret")
        self._concurrency = int(options.number("concurrency", 50, 1, 1000))
        timeout = options.number("timeout_seconds", 10, 0.1, 120)
        self._api = JsonApi(options.text("base_url", _API), timeout, self._concurrency)
        self._table = load_table("channels.line", "codes.toml")

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """LINE has no look-up."""
        return LookupAnswer(LookupResult.UNSUPPORTED)

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``. Reads the account, its webhook and what is left of the month's messages."""
        try:
            await self._get("/v2/bot/info")
            hook = (await self._call("GET", "/v2/bot/channel/webhook/endpoint")).body
            quota = (await self._get("/v2/bot/message/quota")).body
            used = (await self._get("/v2/bot/message/quota/consumption")).body
        except UnknownOutcome as failure:
            raise TransientFailure(failure.reason, failure.code) from None
        advice = []
        path = f"/v1/receipts/{self.name}"
        leads_here = urlsplit(str(hook.get("endpoint", ""))).path.endswith(path)
        if not (hook.get("active") and leads_here):
            what = "the account's webhook is not active, or leads elsewhere: no delivery, reply or unfollow would come"
            advice.append(Advice(what, f"set it to GATEWAY_PUBLIC_URL{path} and switch it on, in LINE Developers"))
        if quota.get("type") == "limited" and used.get("totalUsage", 0) >= 0.9 * quota.get("value", 0):
            advice.append(Advice("nine tenths of the month's messages are used", "raise the account's plan"))
        return advice

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``."""
        return self.read_events(request).receipts

    def read_events(self, request: CallbackRequest) -> CallbackEvents:
        """See ``channels.base.ReadsEvents``. Kinds of event that are not listed here are left out.

        Who blocks the account (``unfollow``) declines messages on LINE, and there alone. Who unblocks it has not asked
        for messages, so ``follow`` changes nothing (our choice).
        """
        digest = base64.b64encode(hmac.digest(self._secret.encode(), request.body, "sha256"))
        given = request.headers.get("x-line-signature", "")
        if not hmac.compare_digest(digest, given.encode("utf-8", "surrogateescape")):
            raise BadSignature("x-line-signature")
        try:
            events = list(json.loads(request.body)["events"])
            receipts = [self._delivered(each) for each in events if each["type"] == "delivery"]
            replies = [reply for each in events for reply in self._replies(each)]
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise MalformedCallback("events") from None
        return CallbackEvents(receipts, replies)

    async def answer_reply(self, reply: Reply, text: str) -> None:
        """See ``channels.base.AnswersReplies``."""
        key = str(uuid5(NAMESPACE_OID, f"line:{reply.provider_message_id}"))
        await self._push({"to": reply.address, "messages": [{"type": "text", "text": text}]}, key)

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
        await self._api.close()

    def _delivered(self, event: Mapping[str, Any]) -> Receipt:
        tag = str(event["delivery"]["data"])
        return Receipt(self.name, ReceiptStatus.DELIVERED, reference=tag, reason=ProviderReason.DELIVERED)

    def _replies(self, event: Mapping[str, Any]) -> Iterator[Reply]:
        user = event.get("source", {}).get("userId")
        if user is None:
            return  # a group, or a user who has not agreed to give an id
        identity = "" if self.channel == _USER else _USER
        if event["type"] == "unfollow":
            # The event has no message; its own id is the same whenever it comes again.
            yield Reply(
                self.name,
                str(event["webhookEventId"]),
                user,
                "",
                answered=True,
                keyword=Keyword.STOP,
                identity=identity,
            )
        elif event["type"] == "message":
            message = event["message"]
            text = str(message["text"]) if message["type"] == "text" else f"[{str(message['type'])[:20]}]"
            yield Reply(self.name, str(message["id"]), user, text, identity=identity)

    async def _push(self, body: Mapping[str, Any], retry_key: str) -> Accepted:
        answer = await self._call("POST", "/v2/bot/message/push", body, {"X-Line-Retry-Key": retry_key}, (409,))
        if answer.status == 409:  # a repetition: the first request was accepted, under this id
            return Accepted(answer.headers.get("X-Line-Accepted-Request-Id", ""))
        try:
            return Accepted(str(answer.body["sentMessages"][0]["id"]))
        except (KeyError, IndexError, TypeError):
            raise UnknownOutcome(ProviderReason.UNMAPPED) from None

    async def _get(self, path: str) -> JsonAnswer:
        answer = await self._call("GET", path)
        if answer.status == 404:
            raise self._failure(answer)
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        good: tuple[int, ...] = (),
    ) -> JsonAnswer:
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **(headers or {})}
        answer = await self._api.call(method, path, body=None if body is None else encoded(body), headers=sent)
        if answer.status == 200 or answer.status in good or (method == "GET" and answer.status == 404):
            return answer
        raise self._failure(answer)

    def _failure(self, answer: JsonAnswer) -> SendFailure:
        # LINE has no codes, but words: in the message, or of the property that is wrong.
        details = answer.body.get("details")
        said = [str(answer.body.get("message", ""))]
        if isinstance(details, list):
            said += [str(each.get("property", "")) for each in details if isinstance(each, dict)]
        code = next((code for word in said for code in self._table.codes if word.startswith(code)), "")
        outcome = self._table.find(code, str(answer.status))
        return outcome.failure(answer.retry_after)


class PushProvider(LineProvider):
    """Push messages: free text to a user's id. A repeated request is recognised by its retry key."""

    channel = "line"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        super().__init__(name, options, clock)
        self.capability = Capability(
            idempotent_for=_RETRIED_FOR, silence=Silence.UNPROVEN, concurrency=self._concurrency
        )

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> PushProvider:
        """Build from settings: channel_access_token (long-lived), channel_secret; optional base_url, timeout_seconds
        (10), concurrency (50). Needs the service ``clock``. Raises ValueError naming what is missing.
        """
        return cls(name, ProviderOptions(name, values, _OPTIONS), service(name, services, "clock"))

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``."""
        if message.valid_until is not None and message.valid_until <= self._clock():
            raise TransientFailure(ProviderReason.TOO_LATE)
        body = {"to": message.address, "messages": [{"type": "text", "text": message.content.text}]}
        return await self._push(body, message.idempotency_key)


class NotificationProvider(LineProvider):
    """Notification messages: a template of LINE's to the digest of a phone number.

    A slot's name is the key of an item; ``emphasized__KEY`` is the emphasised one, ``button__KEY`` a button's URL.
    """

    channel = "line_notification"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        super().__init__(name, options, clock)
        self.capability = Capability(
            categories=permitted_categories(name, options),
            silence=Silence.FAILED,
            receipt_within=_DELIVERED_WITHIN,
            concurrency=self._concurrency,
        )

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> NotificationProvider:
        """Build from settings: as ``PushProvider``, and collections_approved_by and collections_approved_on
        (``channels.sign_off``). Needs the service ``clock``. Raises ValueError naming what is missing.
        """
        options = ProviderOptions(name, values, _OPTIONS | SIGN_OFF_OPTIONS)
        return cls(name, options, service(name, services, "clock"))

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``. The tag is our reference, which the delivery event repeats."""
        if message.valid_until is not None and message.valid_until <= self._clock():
            raise TransientFailure(ProviderReason.TOO_LATE)
        call = message.content.template
        if call is None:
            raise PermanentFailure(ProviderReason.TEMPLATE_UNAVAILABLE)
        number = hashlib.sha256(message.address.encode()).hexdigest()
        body = {"to": number, "templateKey": call.reference, "body": _template_body(call)}
        headers = {"X-Line-Delivery-Tag": message.reference}
        answer = await self._call("POST", "/v2/bot/message/pnp/templated/push", body, headers)
        # It gives no id of the message, only one of the request.
        return Accepted(answer.headers.get("X-Line-Request-Id") or message.reference)


def _template_body(call: TemplateCall) -> Mapping[str, Any]:
    body: dict[str, Any] = {}
    for name, value in call.parameters:
        if name.startswith(_EMPHASIZED):
            body["emphasizedItem"] = {"itemKey": name.removeprefix(_EMPHASIZED), "content": value}
        elif name.startswith(_BUTTON):
            body.setdefault("buttons", []).append({"buttonKey": name.removeprefix(_BUTTON), "url": value})
        else:
            body.setdefault("items", []).append({"itemKey": name, "content": value})
    return body
