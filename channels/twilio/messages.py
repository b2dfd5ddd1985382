"""Twilio, both directions: send through its SDK, look a message up, read its status callbacks.

Owns how Twilio's answers map to ours; the codes themselves are data (``codes.toml``). A channel that Twilio serves is a
subclass: it says how an address is written there, and what a message consists of.
Must not know who calls it, nor keep anything between calls but its connections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from multidict import MultiDict
from twilio.base.exceptions import TwilioException
from twilio.request_validator import (
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
    get_signature_algorithm,
)
from twilio.rest import Client

from channels.base import (
    Accepted,
    Advice,
    BadSignature,
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
    TransientFailure,
    UnknownOutcome,
)
from channels.content import same_words
from channels.options import Clock, ProviderOptions
from channels.outcomes import OutcomeClass, load_table
from channels.twilio.http import API, TwilioHttpClient, TwilioRefused

# Twilio's statuses; those before ``sent`` already prove that it has the message.
_STATUSES: Mapping[str, ReceiptStatus] = {
    "accepted": ReceiptStatus.SENT,
    "scheduled": ReceiptStatus.SENT,
    "queued": ReceiptStatus.SENT,
    "sending": ReceiptStatus.SENT,
    "sent": ReceiptStatus.SENT,
    "partially_delivered": ReceiptStatus.SENT,
    "delivered": ReceiptStatus.DELIVERED,
    "undelivered": ReceiptStatus.UNDELIVERED,
    "failed": ReceiptStatus.FAILED,
    "canceled": ReceiptStatus.FAILED,
    "read": ReceiptStatus.READ,
}

_LONGEST_VALIDITY = 36_000  # seconds; Twilio's ValidityPeriod takes 1 to 36000 (Message resource reference)
_CLOCK_SKEW = timedelta(seconds=30)  # our choice: NTP keeps both clocks far closer, date_created has whole seconds
_LOOKUP_LIMIT = 200  # our choice: nobody is sent more than this between an attempt and its look-up
# Twilio repeats a callback that failed, up to 5 times, when the fragment of its URL says so (connection overrides).
_CALLBACK_RETRIES = "rc=5&rp=ct,rt,5xx"

# Our choice: Twilio's webhooks have some 30 fields, and a text of 1,600 characters percent-encoded has 20 kB at most.
_LARGEST_FORM, _MOST_FIELDS = 64_000, 200

OPTIONS = frozenset(
    {
        "account_sid",
        "auth_token",
        "from_number",
        "messaging_service_sid",
        "base_url",
        "timeout_seconds",
        "concurrency",
        "lookup_settle_seconds",
        "signing_secret",
    }
)


class TwilioMessages:
    """Twilio's Messages API.

    Options: account_sid, auth_token, from_number or messaging_service_sid; optional base_url, timeout_seconds (10),
    concurrency (50), lookup_settle_seconds, signing_secret. Raises ValueError naming what is wrong.
    """

    channel: str
    prefix = ""  # what Twilio writes before the numbers of the channel

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._account = options.text("account_sid")
        self._token = options.text("auth_token")
        self._sender = _sender(name, options, self.prefix)
        self._base_url = options.text("base_url", API)
        self._timeout = options.number("timeout_seconds", 10, 0.1, 120)
        concurrency = int(options.number("concurrency", 50, 1, 1000))
        self.capability = Capability(looks_up=True, concurrency=concurrency)
        # A request that hangs may still be stored after our timeout, so "not there" counts only later than that.
        self._settle = timedelta(seconds=options.number("lookup_settle_seconds", self._timeout + 10, 0, 86_400))
        # Signed with the account's token, or with a shared key where Twilio is set up so.
        self._validator = RequestValidator(options.text("signing_secret", self._token))
        self._table = load_table("channels.twilio", "codes.toml")
        self._http: TwilioHttpClient | None = None
        self._client: Any = None

    def content(self, message: Message) -> dict[str, str]:
        """What the message says, as parameters of the API. Raises SendFailure where it may not be sent so."""
        return {"body": message.content.text}

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``."""
        parameters: dict[str, Any] = {"to": self.prefix + message.address, **self.content(message), **self._sender}
        if message.callback_url:
            parameters["status_callback"] = f"{message.callback_url}#{_CALLBACK_RETRIES}"
        if message.valid_until is not None:
            parameters["validity_period"] = self._validity(message.valid_until)
        try:
            created = await self._messages().create_async(**parameters)
        except SendFailure:
            raise
        except TwilioRefused as refused:
            raise self._failure(refused) from None
        except (TwilioException, ValueError, TypeError, KeyError):
            # A success that cannot be read is a message that Twilio has.
            raise UnknownOutcome(ProviderReason.UNMAPPED) from None
        if not created.sid:
            raise UnknownOutcome(ProviderReason.UNMAPPED)
        if created.status == "failed":
            raise self._table.find(str(created.error_code or ""), "400").failure()
        return Accepted(provider_message_id=created.sid)

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """See ``channels.base.Provider``. Finds by number, exact text and time, as Twilio carries no id of ours."""
        try:
            if provider_message_id:
                found = await self._messages()(provider_message_id).fetch_async()
                return LookupAnswer(LookupResult.FOUND, self._as_receipt(found, message.reference))
            return await self._search(message, since)
        except TwilioRefused as refused:
            if provider_message_id and refused.status == 404:
                return LookupAnswer(LookupResult.ABSENT)
            reason = self._table.find(refused.code, str(refused.status)).reason
            raise TransientFailure(reason, refused.code, refused.retry_after) from None
        except SendFailure as failure:
            raise TransientFailure(failure.reason, failure.code) from None
        except (TwilioException, ValueError, TypeError, KeyError):
            raise TransientFailure(ProviderReason.UNMAPPED) from None

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``. Reads the account."""
        self._messages()
        try:
            account = await self._client.api.v2010.accounts(self._account).fetch_async()
        except TwilioRefused as refused:
            if refused.status in (401, 403, 404):
                raise PermanentFailure(ProviderReason.PROVIDER_CONFIG, refused.code or str(refused.status)) from None
            raise self._failure(refused) from None
        except (TwilioException, ValueError, TypeError, KeyError):
            raise TransientFailure(ProviderReason.UNMAPPED) from None
        if account.status != "active":
            raise PermanentFailure(ProviderReason.PROVIDER_CONFIG, f"account_{account.status}")
        return []

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``. The request's ``ref`` query parameter is our reference."""
        form = self._form(request)
        status = _STATUSES.get(form.get("MessageStatus", form.get("SmsStatus", "")))
        if status is None:
            raise MalformedCallback("MessageStatus")
        sid = form.get("MessageSid", form.get("SmsSid", ""))
        reference = request.query.get("ref", "")
        if not sid and not reference:
            raise MalformedCallback("MessageSid")
        return [self._receipt(status, sid, reference, form.get("ErrorCode", ""))]

    def read_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """See ``channels.base.TakesReplies``. Twilio's incoming message webhook (Messaging webhooks reference)."""
        form = self._form(request)
        missing = [name for name in ("MessageSid", "From", "Body") if name not in form]
        if missing:
            raise MalformedCallback(missing[0])
        # OptOutType (STOP, START or HELP) is there where Twilio's Advanced Opt-Out has recognised a keyword, perhaps
        # the account's own, and has answered already. After STOP it refuses our messages, whatever the text says.
        kind = form.get("OptOutType", "")
        keyword = Keyword(kind.lower()) if kind.lower() in list(Keyword) else None
        address = form["From"].removeprefix(self.prefix)
        return [Reply(self.name, form["MessageSid"], address, form["Body"], bool(kind), keyword)]

    def answer(self, text: str) -> tuple[bytes, str]:
        """See ``channels.base.TakesReplies``. TwiML."""
        message = f"<Message>{escape(text)}</Message>" if text else ""
        return f'<?xml version="1.0" encoding="UTF-8"?><Response>{message}</Response>'.encode(), "application/xml"

    def _form(self, request: CallbackRequest) -> MultiDict[str]:
        """The signed form of a callback. What can't be Twilio's is refused before it is parsed and a signature made."""
        if not request.headers.get(SIGNATURE_HEADER.lower()) or len(request.body) > _LARGEST_FORM:
            raise BadSignature(SIGNATURE_HEADER)
        try:
            fields = parse_qsl(request.body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:  # no UTF-8, or too many fields
            raise BadSignature("the body is not a form of Twilio's") from None
        form = MultiDict(fields)
        self._verify(request, form)
        return form

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
        http, self._http, self._client = self._http, None, None
        if http is not None:
            await http.close()

    def _messages(self) -> Any:
        # Built at first use: the session inside must belong to the loop that sends.
        if self._client is None:
            self._http = TwilioHttpClient(self._base_url, self._timeout, self.capability.concurrency)
            # An empty environment would mean the process's own, whose TWILIO_REGION or TWILIO_EDGE would move the
            # host behind our base URL's back.
            self._client = Client(self._account, self._token, http_client=self._http, environment={"TWILIO_REGION": ""})
        return self._client.messages

    def _validity(self, valid_until: datetime) -> int:
        left = int((valid_until - self._clock()).total_seconds())
        if left < 1:
            raise TransientFailure(ProviderReason.TOO_LATE)
        return min(left, _LONGEST_VALIDITY)

    def _failure(self, refused: TwilioRefused) -> SendFailure:
        outcome = self._table.find(refused.code, str(refused.status))
        if refused.status == 429:
            # Twilio: requests that receive 429 are not processed, whatever code comes with it.
            return TransientFailure(outcome.reason, outcome.code, refused.retry_after)
        if refused.status >= 500 and outcome.kind is not OutcomeClass.UNKNOWN:
            outcome = self._table.find("", str(refused.status))
        return outcome.failure(refused.retry_after)

    async def _search(self, message: Message, since: datetime) -> LookupAnswer:
        # No date filter: DateSent is empty for what is still queued, so filtering by it would hide the message.
        found = await self._messages().list_async(
            to=self.prefix + message.address, limit=_LOOKUP_LIMIT, page_size=_LOOKUP_LIMIT
        )
        earliest = since - _CLOCK_SKEW
        recent = [each for each in found if each.date_created is None or _utc(each.date_created) >= earliest]
        for each in recent:
            # Of a template of theirs, Twilio keeps the text that came of it.
            if same_words(each.body or "", message.content.text):
                return LookupAnswer(LookupResult.FOUND, self._as_receipt(each, message.reference))
        if len(recent) >= _LOOKUP_LIMIT:
            return LookupAnswer(LookupResult.UNSUPPORTED)
        if self._clock() - since < self._settle:
            raise TransientFailure(ProviderReason.TIMEOUT, retry_after=self._settle.total_seconds())
        return LookupAnswer(LookupResult.ABSENT)

    def _as_receipt(self, found: Any, reference: str) -> Receipt:
        status = _STATUSES.get(str(found.status), ReceiptStatus.SENT)
        code = "" if found.error_code in (None, 0) else str(found.error_code)
        return self._receipt(status, str(found.sid), reference, code)

    def _receipt(self, status: ReceiptStatus, sid: str, reference: str, code: str) -> Receipt:
        reason: ProviderReason | None = None
        if status in (ReceiptStatus.UNDELIVERED, ReceiptStatus.FAILED):
            reason = self._table.find(code).reason
            if reason is ProviderReason.OPTED_OUT_AT_PROVIDER:
                status = ReceiptStatus.OPTED_OUT
        elif status is ReceiptStatus.DELIVERED:
            reason = ProviderReason.DELIVERED
        return Receipt(self.name, status, sid, reference, reason, code)

    def _verify(self, request: CallbackRequest, form: MultiDict[str]) -> None:
        signature = request.headers.get(SIGNATURE_HEADER.lower(), "")
        algorithm = get_signature_algorithm(request.headers.get(SIGNATURE_SETTINGS_HEADER.lower()))
        if self._signed_as_it_is(request, form, signature, algorithm):
            return
        # The fragment never reaches us; whether Twilio signs it with the URL is not written down, so both pass.
        urls = (request.url, f"{request.url}#{_CALLBACK_RETRIES}")
        if not any(self._validator.validate(url, form, signature, algorithm) for url in urls):
            raise BadSignature(SIGNATURE_HEADER)

    def _signed_as_it_is(self, request: CallbackRequest, form: MultiDict[str], signature: str, algorithm: str) -> bool:
        """Whether this very address is signed: nearly always, and a third of the time that the library takes, which
        always makes the signatures with the port and without.
        """
        try:
            expected: str = self._validator.compute_signature(request.url, form, algorithm)
        except ValueError:  # an algorithm that the library does not know
            return False
        return compare_digest(expected.encode(), signature.encode(errors="replace"))


def _sender(name: str, options: ProviderOptions, prefix: str) -> dict[str, str]:
    if service_sid := options.text("messaging_service_sid", ""):
        return {"messaging_service_sid": service_sid}
    if number := options.text("from_number", ""):
        return {"from_": prefix + number}
    raise ValueError(f"provider {name}: option from_number or messaging_service_sid is missing")


def _utc(instant: datetime) -> datetime:
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
