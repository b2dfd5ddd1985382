"""Meta's Cloud API, both directions: send, read statuses, replies and states of templates from one webhook.

Owns how Meta's answers map to ours; the codes themselves are data (``cloud_codes.toml``). Must not know who calls it.
Webhooks come unordered and repeated, for up to seven days. There is no look-up: an unknown outcome is settled by the
status that repeats our reference (``biz_opaque_callback_data``).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from channels.base import (
    Accepted,
    Advice,
    BadSignature,
    CallbackEvents,
    CallbackRequest,
    Capability,
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
    TemplateReport,
    TemplateStatus,
    TransientFailure,
    UnknownOutcome,
)
from channels.json_api import JsonAnswer, JsonApi, encoded
from channels.options import Clock, ProviderOptions, service
from channels.outcomes import load_table
from channels.sign_off import SIGN_OFF_OPTIONS, permitted_categories
from channels.whatsapp.cloud_shapes import content, pushed_state, state, text_of, webhook_of

_API = "https://graph.facebook.com"
_VERSION = "v23.0"  # of the Graph API; a version lives two years, so it is an option
_PAGE = 100  # templates in one answer; our choice
_MOST_PAGES = 60  # an account has 6,000 templates at most
_USER_ID = "whatsapp_user"  # the identity of Meta's business-scoped user ids, which may stand in place of a number

_STATUSES: Mapping[str, ReceiptStatus] = {
    "sent": ReceiptStatus.SENT,
    "delivered": ReceiptStatus.DELIVERED,
    "read": ReceiptStatus.READ,
    "played": ReceiptStatus.READ,
    "failed": ReceiptStatus.UNDELIVERED,
}
_OPTIONS = SIGN_OFF_OPTIONS | {
    "phone_number_id",
    "business_account_id",
    "access_token",
    "app_secret",
    "verify_token",
    "base_url",
    "api_version",
    "timeout_seconds",
    "concurrency",
}


class CloudProvider:
    """Meta's Cloud API. Options: see ``from_options``. A template's reference is its name there."""

    channel = "whatsapp"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._sender = options.text("phone_number_id")
        self._account = options.text("business_account_id")
        self._token = options.text("access_token")
        self._secret = options.text("app_secret")
        self._verify_token = options.text("verify_token")
        self._version = options.text("api_version", _VERSION)
        concurrency = int(options.number("concurrency", 50, 1, 1000))
        timeout = options.number("timeout_seconds", 10, 0.1, 120)
        self._api = JsonApi(options.text("base_url", _API), timeout, concurrency)
        self._table = load_table("channels.whatsapp", "cloud_codes.toml")
        self.capability = Capability(
            categories=permitted_categories(name, options),
            concurrency=concurrency,
            callback_bytes=3 << 20,  # Meta's own limit: a webhook has 3 MB at most
        )

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> CloudProvider:
        """Build from settings: phone_number_id, business_account_id, access_token, app_secret, verify_token; optional
        base_url, api_version, timeout_seconds (10), concurrency (50), collections_approved_by and
        collections_approved_on (``channels.sign_off``). Needs the service ``clock``.

        Raises ValueError naming what is missing.
        """
        return cls(name, ProviderOptions(name, values, _OPTIONS), service(name, services, "clock"))

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``. Free text goes only while the person's own message permits it."""
        now = self._clock()
        if message.valid_until is not None and message.valid_until <= now:
            raise TransientFailure(ProviderReason.TOO_LATE)
        if message.content.template is None and (message.window_until is None or message.window_until <= now):
            raise PermanentFailure(ProviderReason.WINDOW_CLOSED)
        return await self._send(message.address, content(message), message.reference)

    async def answer_reply(self, reply: Reply, text: str) -> None:
        """See ``channels.base.AnswersReplies``. The reply has opened the window for free text."""
        await self._send(reply.address, {"type": "text", "text": {"body": text}}, "")

    async def _send(self, address: str, content: Mapping[str, Any], reference: str) -> Accepted:
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": address.removeprefix("+"),
            **content,
            **({"biz_opaque_callback_data": reference} if reference else {}),
        }
        answer = await self._call("POST", f"{self._sender}/messages", body)
        try:
            return Accepted(str(answer.body["messages"][0]["id"]))
        except (KeyError, IndexError, TypeError):
            # A success that cannot be read is a message that Meta has.
            raise UnknownOutcome(ProviderReason.UNMAPPED) from None

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """Meta has no look-up."""
        return LookupAnswer(LookupResult.UNSUPPORTED)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> JsonAnswer:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        raw = None if body is None else encoded(body)
        answer = await self._api.call(method, f"/{self._version}/{path}", query=query, body=raw, headers=headers)
        if answer.status != 200:
            raise self._failure(answer)
        return answer

    def _failure(self, answer: JsonAnswer) -> SendFailure:
        error = answer.body.get("error")
        code = str(error.get("code", "")) if isinstance(error, dict) else ""
        if answer.status >= 500 and code not in self._table.codes:
            code = ""  # a group of codes proves nothing beside a server error
        outcome = self._table.find(code, str(answer.status))
        return outcome.failure(answer.retry_after)

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────

    async def template_states(self, references: Sequence[str]) -> Sequence[TemplateReport]:
        """See ``channels.base.ReportsTemplates``."""
        wanted = set(references)
        return [each for each in await self._templates() if each.reference in wanted]

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``. Reads the sender, the webhook's subscription and the templates."""
        try:
            fields = "quality_rating,webhook_configuration"
            sender = (await self._call("GET", self._sender, query={"fields": fields})).body
            subscribed = (await self._call("GET", f"{self._account}/subscribed_apps")).body.get("data")
            templates = await self._templates()
        except UnknownOutcome as failure:
            raise TransientFailure(failure.reason, failure.code) from None
        advice = []
        if sender.get("quality_rating") == "RED":
            advice.append(Advice("people block or report this sender (quality RED)", "send less, to who expects it"))
        if not subscribed:
            what = "no app is subscribed to the account's webhooks: no receipt and no reply would come"
            advice.append(Advice(what, f"subscribe the app, with the callback URL /v1/receipts/{self.name}"))
        path, leads_to = f"/v1/receipts/{self.name}", webhook_of(sender)
        if leads_to and not urlsplit(leads_to).path.endswith(path):
            what = "the webhook leads elsewhere: no receipt and no reply would come here"
            advice.append(Advice(what, f"set it to GATEWAY_PUBLIC_URL{path}, in the app's configuration of WhatsApp"))
        unusable = [each for each in templates if each.status is not TemplateStatus.APPROVED]
        for each in unusable:
            what = f"template {each.reference} ({each.language}) is {each.status}"
            advice.append(Advice(what, "mend it in WhatsApp Manager; until then routes go round it"))
        return advice

    async def _templates(self) -> list[TemplateReport]:
        found: list[TemplateReport] = []
        query = {"fields": "name,language,status,category,rejected_reason", "limit": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            body = (await self._call("GET", f"{self._account}/message_templates", query=query)).body
            try:
                found += [state(each) for each in body["data"]]
                after = body.get("paging", {}).get("cursors", {}).get("after") if "next" in body["paging"] else None
            except (KeyError, TypeError, AttributeError):
                break
            if not after:
                break
            query = {**query, "after": str(after)}
        return found

    # ── callbacks ───────────────────────────────────────────────────────────────────────────────────────────

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``."""
        return self.read_events(request).receipts

    def read_events(self, request: CallbackRequest) -> CallbackEvents:
        """See ``channels.base.ReadsEvents``. A GET is the handshake by which Meta tries the URL."""
        if request.method == "GET":
            return self._handshake(request)
        expected = "sha256=" + hmac.new(self._secret.encode(), request.body, "sha256").hexdigest()
        given = request.headers.get("x-hub-signature-256", "")
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape")):
            raise BadSignature("x-hub-signature-256")
        try:
            found = json.loads(request.body)
            changes = [change for entry in found["entry"] for change in entry["changes"]]
            values = [(str(each["field"]), each["value"]) for each in changes]
        except (ValueError, RecursionError, KeyError, TypeError):
            raise MalformedCallback("entry") from None
        receipts: list[Receipt] = []
        replies: list[Reply] = []
        templates: list[TemplateReport] = []
        try:
            for field, value in values:
                if field == "messages" and value["metadata"]["phone_number_id"] == self._sender:
                    receipts += self._receipts(value)
                    replies += self._replies(value)
                elif field in ("message_template_status_update", "template_category_update"):
                    templates += pushed_state(field, value)
        except (KeyError, TypeError, AttributeError):
            raise MalformedCallback("value") from None
        return CallbackEvents(receipts, replies, templates)

    def _handshake(self, request: CallbackRequest) -> CallbackEvents:
        given = request.query.get("hub.verify_token", "")
        if not hmac.compare_digest(self._verify_token.encode(), given.encode("utf-8", "surrogateescape")):
            raise BadSignature("hub.verify_token")
        return CallbackEvents(body=request.query.get("hub.challenge", "").encode())

    def _receipts(self, value: Mapping[str, Any]) -> Iterator[Receipt]:
        for each in value.get("statuses", ()):
            status = _STATUSES.get(each["status"])
            if status is None:
                continue
            reason = ProviderReason.DELIVERED if status is ReceiptStatus.DELIVERED else None
            code = ""
            if status is ReceiptStatus.UNDELIVERED:
                errors = each.get("errors")
                code = str(errors[0]["code"]) if errors else ""
                reason = self._table.find(code).reason
                if reason is ProviderReason.OPTED_OUT_AT_PROVIDER:
                    status = ReceiptStatus.OPTED_OUT
            reference = str(each.get("biz_opaque_callback_data", ""))
            yield Receipt(self.name, status, str(each["id"]), reference, reason, code)

    def _replies(self, value: Mapping[str, Any]) -> Iterator[Reply]:
        for each in value.get("messages", ()):
            kind = str(each["type"])
            if kind in ("system", "reaction"):
                continue  # a change of number, or a sign beside a message: nobody has written
            number = each.get("from")
            address = f"+{str(number).removeprefix('+')}" if number else str(each["from_user_id"])
            identity = "" if number else _USER_ID
            yield Reply(self.name, str(each["id"]), address, text_of(kind, each), identity=identity)

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
        await self._api.close()
