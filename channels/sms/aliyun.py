"""Alibaba Cloud SMS (API 2017-05-25), both directions, signed by ACS3-HMAC-SHA256.

Owns how its answers map to ours; the codes themselves are data (``aliyun_codes.toml``). Must not know who calls it.
Its rules forbid collections and most financial content on mainland numbers, hence the category ``service`` alone until
a sign-off is recorded. Parameters go in the body, never in the URL, which proxies log. Its callbacks have no signature:
the URL has a secret, and what they say of a message is believed by our signed reference (``out_id``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from zoneinfo import ZoneInfo

from channels.base import (
    Accepted,
    Advice,
    CallbackEvents,
    LookupAnswer,
    LookupResult,
    MalformedCallback,
    Message,
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
from channels.json_api import JsonAnswer
from channels.options import Clock, ProviderOptions, service
from channels.outcomes import OutcomeClass
from channels.sms.templated_cloud import OPTIONS, TemplatedCloud

_VERSION = "2017-05-25"
_ALGORITHM = "ACS3-HMAC-SHA256"
_DAYS = ZoneInfo("Asia/Shanghai")  # of SendDate
_PAGE = 50  # the most that QuerySendDetails gives at once
# Also the limit of messages to one number of one sign and template in 24 hours, so that one page is all of them.
_TEMPLATE_STATUSES = {
    "0": TemplateStatus.SUBMITTED,
    "1": TemplateStatus.APPROVED,
    "2": TemplateStatus.REJECTED,
    "10": TemplateStatus.DISABLED,
}

_OPTIONS = OPTIONS | {"access_key_id", "access_key_secret", "lookup_settle_seconds"}


def acs3_signature(
    secret: str, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body_digest: str
) -> tuple[str, str]:
    """The signature, and the names of the signed headers, which are all of ``headers`` (lower-case names)."""
    encoded_query = "&".join(f"{_quoted(name)}={_quoted(query[name])}" for name in sorted(query))
    names = sorted(headers)
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    signed = ";".join(names)
    request = "\n".join((method, path, encoded_query, lines, signed, body_digest))
    text = f"{_ALGORITHM}\n{hashlib.sha256(request.encode()).hexdigest()}"
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest(), signed


class AliyunProvider(TemplatedCloud):
    """SendSms with a sign and templates. Options: see ``from_options``. A template's reference is its code."""

    base_url = "https://dysmsapi.aliyuncs.com"
    codes = "aliyun_codes.toml"
    looks_up = True

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        super().__init__(name, options, clock)
        self._key_id = options.text("access_key_id")
        self._secret = options.text("access_key_secret")
        # A request that hangs may still be taken after our time-out, so "not there" counts only later than that.
        self._settle = timedelta(seconds=options.number("lookup_settle_seconds", self._timeout + 10, 0, 86_400))

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> AliyunProvider:
        """Build from settings: access_key_id, access_key_secret, sign_name, callback_secret (of the callbacks' URL);
        optional base_url, timeout_seconds (10), concurrency (50), lookup_settle_seconds, collections_approved_by and
        collections_approved_on (``channels.sign_off``). Needs the service ``clock``.

        Raises ValueError naming what is missing.
        """
        return cls(name, ProviderOptions(name, values, _OPTIONS), service(name, services, "clock"))

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``."""
        call = self.template_of(message)
        answer = await self._call(
            "SendSms",
            {
                "PhoneNumbers": message.address.removeprefix("+"),
                "SignName": self._sign_name,
                "TemplateCode": call.reference,
                "TemplateParam": json.dumps(dict(call.parameters), ensure_ascii=False),
                "OutId": message.reference,
            },
        )
        if "BizId" not in answer:
            raise UnknownOutcome(ProviderReason.UNMAPPED)
        return Accepted(str(answer["BizId"]))

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """See ``channels.base.Provider``. Finds by number and day, and tells attempts apart by our reference."""
        now = self._clock()
        days = sorted({f"{each.astimezone(_DAYS):%Y%m%d}" for each in (since, now)})
        try:
            for day in days:
                for each in await self._sent_on(day, message.address):
                    if each.get("OutId") == message.reference:
                        return LookupAnswer(LookupResult.FOUND, self._found(each, message.reference))
        except SendFailure as failure:
            raise TransientFailure(failure.reason, failure.code) from None
        if now - since < self._settle:
            raise TransientFailure(ProviderReason.TIMEOUT, retry_after=self._settle.total_seconds())
        return LookupAnswer(LookupResult.ABSENT)

    async def _sent_on(self, day: str, address: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        page = 1
        while True:
            query = {"PhoneNumber": address.removeprefix("+"), "SendDate": day, "PageSize": str(_PAGE)}
            answer = await self._call("QuerySendDetails", {**query, "CurrentPage": str(page)})
            try:
                total = int(answer["TotalCount"])
                some = list(answer["SmsSendDetailDTOs"]["SmsSendDetailDTO"]) if total else []
            except (KeyError, TypeError, ValueError):
                raise TransientFailure(ProviderReason.UNMAPPED) from None
            found += some
            if len(found) >= total:
                return found
            if not some:  # it may count messages before it lists them, which is no absence
                raise TransientFailure(ProviderReason.PROVIDER_UNAVAILABLE, "incomplete_list")
            page += 1

    async def template_states(self, references: Sequence[str]) -> Sequence[TemplateReport]:
        """See ``channels.base.ReportsTemplates``."""
        reports = []
        for each in references:
            answer = await self._call("GetSmsTemplate", {"TemplateCode": each})
            status = _TEMPLATE_STATUSES.get(str(answer.get("TemplateStatus")), TemplateStatus.PAUSED)
            reports.append(TemplateReport(each, status))
        return reports

    async def advice(self) -> Sequence[Advice]:
        """Of the sign. Raises SendFailure."""
        answer = await self._call("GetSmsSign", {"SignName": self._sign_name})
        if str(answer.get("SignStatus")) == "1":
            return []
        return [Advice("the sign is not approved", "see its state in the console; nothing goes without it")]

    async def _call(self, action: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        body = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in parameters.items()).encode()
        digest = hashlib.sha256(body).hexdigest()
        signed = {
            "content-type": "application/x-www-form-urlencoded",
            "host": self._api.host,
            "x-acs-action": action,
            "x-acs-content-sha256": digest,
            "x-acs-date": f"{self._clock():%Y-%m-%dT%H:%M:%SZ}",
            "x-acs-signature-nonce": uuid4().hex,
            "x-acs-version": _VERSION,
        }
        signature, names = acs3_signature(self._secret, "POST", "/", {}, signed, digest)
        credential = f"{_ALGORITHM} Credential={self._key_id},SignedHeaders={names},Signature={signature}"
        answer = await self._api.call("POST", "/", body=body, headers={**signed, "Authorization": credential})
        if answer.status == 200 and answer.body.get("Code") == "OK":
            return answer.body
        raise self._failure(answer)

    def _failure(self, answer: JsonAnswer) -> SendFailure:
        code = str(answer.body.get("Code", ""))
        if answer.status >= 500 and code not in self._table.codes:
            code = ""  # a group of codes proves nothing beside a server error
        # Without a code, a success that can't be read is a message that it may have.
        status = "" if answer.status == 200 else str(answer.status)
        outcome = self._table.find(code, status)
        if answer.status == 429 and outcome.kind is not OutcomeClass.TRANSIENT:
            outcome = self._table.find("", "429")
        return outcome.failure(answer.retry_after)

    def events(self, body: bytes) -> CallbackEvents:
        """Reports and replies. Raises MalformedCallback."""
        receipts: list[Receipt] = []
        replies: list[Reply] = []
        try:
            for each in list(json.loads(body)):
                if "success" in each:
                    receipts.append(self._reported(each))
                elif "content" in each:
                    address = f"+{_with_country(str(each['phone_number']))}"
                    replies.append(Reply(self.name, str(each["sequence_id"]), address, str(each["content"])))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise MalformedCallback("report") from None
        return CallbackEvents(receipts, replies, body=b'{"code":0,"msg":"OK"}', media_type="application/json")

    def _reported(self, report: Mapping[str, Any]) -> Receipt:
        status = "3" if report["success"] is True else "2"
        found = {"SendStatus": status, "ErrCode": report.get("err_code", "")}
        return self._found(found, str(report.get("out_id") or ""), str(report["biz_id"]))

    def _found(self, detail: Mapping[str, Any], reference: str, number: str = "") -> Receipt:
        code, status = str(detail.get("ErrCode", "")), str(detail.get("SendStatus"))
        if status == "3":
            return Receipt(self.name, ReceiptStatus.DELIVERED, number, reference, ProviderReason.DELIVERED)
        if status != "2":
            return Receipt(self.name, ReceiptStatus.SENT, number, reference)
        if "BLACK" in code.upper():
            reason = ProviderReason.OPTED_OUT_AT_PROVIDER
            return Receipt(self.name, ReceiptStatus.OPTED_OUT, number, reference, reason, code)
        return Receipt(self.name, ReceiptStatus.UNDELIVERED, number, reference, self._table.find(code).reason, code)


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _with_country(number: str) -> str:
    """Mainland numbers come without their country: 11 digits that begin with 1."""
    digits = number.lstrip("+").removeprefix("00")
    return f"86{digits}" if len(digits) == 11 and digits.startswith("1") else digits
