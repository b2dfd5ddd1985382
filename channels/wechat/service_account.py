"""A WeChat service account, both directions: template messages, and the encrypted XML of its server.

Owns how WeChat's answers map to ours; the codes themselves are data (``codes.toml``). Must not know who calls it.
The access token is the *stable* one (``/cgi-bin/stable_token``): WeChat gives every caller the same token until it
expires, so that any number of workers share it without a store, and no worker invalidates another's.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree

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
    TemplateReport,
    TemplateStatus,
    TransientFailure,
    UnknownOutcome,
)
from channels.json_api import JsonApi, encoded
from channels.options import Clock, ProviderOptions, service
from channels.outcomes import load_table
from channels.sign_off import SIGN_OFF_OPTIONS, permitted_categories
from channels.wechat.crypto import WeChatCipher, signature

_API = "https://api.weixin.qq.com"
_REPEATABLE = timedelta(minutes=9)  # client_msg_id is recognised for 10 minutes; a minute of ours for clocks and queues
_TOKEN_MARGIN = timedelta(minutes=5)  # WeChat renews a stable token in its last 5 minutes, in which both are valid
_TOKEN_CODES = ("40001", "40014", "42001")  # the token, and never the message
_SENT_BEFORE = "45065"  # the client_msg_id exists: the first request was accepted
_ENCRYPTED = re.compile(rb"<Encrypt>\s*<!\[CDATA\[([A-Za-z0-9+/=]+)\]\]>\s*</Encrypt>")

_OPTIONS = SIGN_OFF_OPTIONS | {
    "app_id",
    "app_secret",
    "token",
    "encoding_aes_key",
    "base_url",
    "timeout_seconds",
    "concurrency",
}


class ServiceAccountProvider:
    """Template messages. Options: see ``from_options``. A template's reference is its template id in the account."""

    channel = "wechat"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._app_id = options.text("app_id")
        self._app_secret = options.text("app_secret")
        self._token = options.text("token")
        try:
            self._cipher = WeChatCipher(options.text("encoding_aes_key"))
        except ValueError as error:
            raise ValueError(f"provider {name}: option encoding_aes_key: {error}") from None
        concurrency = int(options.number("concurrency", 50, 1, 1000))
        timeout = options.number("timeout_seconds", 10, 0.1, 120)
        self._api = JsonApi(options.text("base_url", _API), timeout, concurrency)
        self._table = load_table("channels.wechat", "codes.toml")
        self.capability = Capability(
            categories=permitted_categories(name, options), idempotent_for=_REPEATABLE, concurrency=concurrency
        )
        self._access: tuple[str, datetime] | None = None  # the token, and until when it is used
        self._renewing = asyncio.Lock()

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> ServiceAccountProvider:
        """Build from settings: app_id, app_secret, token, encoding_aes_key (the account's server is in the encrypted
        mode: in the plain one, the signature does not cover the body); optional base_url, timeout_seconds (10),
        concurrency (50), collections_approved_by and collections_approved_on (``channels.sign_off``). Needs the
        service ``clock``. Raises ValueError naming what is wrong.
        """
        return cls(name, ProviderOptions(name, values, _OPTIONS), service(name, services, "clock"))

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``."""
        if message.valid_until is not None and message.valid_until <= self._clock():
            raise TransientFailure(ProviderReason.TOO_LATE)
        call = message.content.template
        if call is None:
            raise PermanentFailure(ProviderReason.TEMPLATE_UNAVAILABLE)
        body = {
            "touser": message.address,
            "template_id": call.reference,
            "client_msg_id": message.idempotency_key.replace("-", ""),
            "data": {name: {"value": value} for name, value in call.parameters},
        }
        answer = await self._call("POST", "/cgi-bin/message/template/send", body, (_SENT_BEFORE,))
        number = answer.get("msgid", answer.get("msg_id"))
        if number is None:
            raise UnknownOutcome(ProviderReason.UNMAPPED)
        return Accepted(str(number))

    async def answer_reply(self, reply: Reply, text: str) -> None:
        """See ``channels.base.AnswersReplies``. Permitted for 48 hours after the user's message."""
        body = {"touser": reply.address, "msgtype": "text", "text": {"content": text}}
        await self._call("POST", "/cgi-bin/message/custom/send", body)

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """WeChat has no look-up."""
        return LookupAnswer(LookupResult.UNSUPPORTED)

    async def template_states(self, references: Sequence[str]) -> Sequence[TemplateReport]:
        """See ``channels.base.ReportsTemplates``. WeChat lists what the account has; it takes away what it disables."""
        answer = await self._call("GET", "/cgi-bin/template/get_all_private_template")
        try:
            there = {str(each["template_id"]) for each in answer["template_list"]}
        except (KeyError, TypeError):
            raise TransientFailure(ProviderReason.UNMAPPED) from None
        return [
            TemplateReport(each, TemplateStatus.APPROVED)
            if each in there
            else TemplateReport(each, TemplateStatus.DISABLED, reason="not in the account")
            for each in references
        ]

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``. Gets the token, and reads the account's templates."""
        try:
            await self.template_states(())
        except UnknownOutcome as failure:
            raise TransientFailure(failure.reason, failure.code) from None
        return []

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, good: tuple[str, ...] = ()
    ) -> Mapping[str, Any]:
        """An API call with the token; where WeChat refuses the token, it is asked for once more."""
        for fresh in (False, True):
            query = {"access_token": await self._access_token(fresh)}
            raw = None if body is None else encoded(body)
            answer = await self._api.call(method, path, query=query, body=raw, headers=_JSON)
            code = _code(answer.body)
            if answer.status == 200 and (code in ("0", *good) or (code == "" and answer.body)):
                return answer.body
            if fresh or code not in _TOKEN_CODES:
                raise self._table.find(code, str(answer.status) if answer.status != 200 else "").failure()
        raise AssertionError  # the loop returns or raises

    async def _access_token(self, fresh: bool) -> str:
        """The account's token; with ``fresh``, whatever was kept of it is not used."""
        used = self._access
        async with self._renewing:
            if self._access is used and fresh:
                self._access = None
            if self._access is None or self._access[1] <= self._clock():
                self._access = await self._ask_for_token()
            return self._access[0]

    async def _ask_for_token(self) -> tuple[str, datetime]:
        body = {
            "grant_type": "client_credential",
            "appid": self._app_id,
            "secret": self._app_secret,
            "force_refresh": False,
        }
        now = self._clock()
        try:
            answer = await self._api.call("POST", "/cgi-bin/stable_token", body=encoded(body), headers=_JSON)
        except UnknownOutcome as failure:  # of the token; no message was sent
            raise TransientFailure(failure.reason, failure.code) from None
        try:
            token, seconds = str(answer.body["access_token"]), float(answer.body["expires_in"])
        except (KeyError, TypeError, ValueError):
            outcome = self._table.find(_code(answer.body), str(answer.status))
            raise TransientFailure(outcome.reason, outcome.code) from None
        return token, now + timedelta(seconds=seconds) - _TOKEN_MARGIN

    # ── callbacks ───────────────────────────────────────────────────────────────────────────────────────────

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``."""
        return self.read_events(request).receipts

    def read_events(self, request: CallbackRequest) -> CallbackEvents:
        """See ``channels.base.ReadsEvents``. A GET is the handshake by which WeChat tries the URL.

        Who stops following the account declines messages on WeChat, and there alone.
        """
        query = request.query
        signed = (self._token, query.get("timestamp", ""), query.get("nonce", ""))
        if request.method == "GET":
            _verify(query.get("signature", ""), signature(*signed))
            return CallbackEvents(body=query.get("echostr", "").encode())
        found = _ENCRYPTED.search(request.body)
        encrypted = found[1].decode() if found else ""
        _verify(query.get("msg_signature", ""), signature(*signed, encrypted))
        if not encrypted:
            raise MalformedCallback("Encrypt")
        try:
            raw, account = self._cipher.decrypt(encrypted)
            if account != self._app_id:
                raise BadSignature("the message is for another account")
            fields = _fields(raw)
        except ValueError:
            raise MalformedCallback("Encrypt") from None
        try:
            receipts, replies = self._read(fields)
        except KeyError as missing:
            raise MalformedCallback(str(missing.args[0])) from None
        return CallbackEvents(receipts, replies, body=b"success")

    def _read(self, fields: Mapping[str, str]) -> tuple[list[Receipt], list[Reply]]:
        kind, user = fields["MsgType"], fields["FromUserName"]
        if kind != "event":
            text = fields["Content"] if kind == "text" else f"[{kind[:20]}]"
            return [], [Reply(self.name, fields["MsgId"], user, text)]
        event = fields["Event"]
        if event == "TEMPLATESENDJOBFINISH":
            return [self._finished(fields["MsgID"], fields["Status"])], []
        if event == "unsubscribe":
            known_by = f"unsubscribe-{fields['CreateTime']}"  # events have no id; a repeated one has the same time
            return [], [Reply(self.name, known_by, user, "", answered=True, keyword=Keyword.STOP)]
        return [], []

    def _finished(self, number: str, said: str) -> Receipt:
        if said == "success":
            return Receipt(self.name, ReceiptStatus.DELIVERED, number, reason=ProviderReason.DELIVERED)
        status, reason, code = ReceiptStatus.UNDELIVERED, ProviderReason.UNREACHABLE, "system_failed"
        if "block" in said:  # failed:user block
            status, reason, code = ReceiptStatus.OPTED_OUT, ProviderReason.OPTED_OUT_AT_PROVIDER, "user_block"
        return Receipt(self.name, status, number, reason=reason, code=code)

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
        await self._api.close()


_JSON = {"Content-Type": "application/json"}


def _code(body: Mapping[str, Any]) -> str:
    return str(body.get("errcode", ""))


def _verify(given: str, expected: str) -> None:
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise BadSignature("signature")


def _fields(raw: bytes) -> dict[str, str]:
    """The elements of a message. Raises ValueError. WeChat's have no document type, and so no entities."""
    if b"<!DOCTYPE" in raw:
        raise ValueError("document type")
    try:
        return {each.tag: each.text or "" for each in ElementTree.fromstring(raw)}
    except ElementTree.ParseError:
        raise ValueError("no XML") from None
