"""Tencent Cloud SMS (API 2021-01-11), both directions, signed by TC3-HMAC-SHA256.

Owns how its answers map to ours; the codes themselves are data (``tencent_codes.toml``). Must not know who calls it.
Its rules forbid financial content and collections, hence the category ``service`` alone until a sign-off is recorded.
Errors come with HTTP 200, of the request or of the one number in it. Its callbacks have no signature: the URL has a
secret. Its look-up knows what the carrier has answered, so a message that it does not list may still be on its way.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

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
    SlotRules,
    TemplateReport,
    TemplateStatus,
    TransientFailure,
    UnknownOutcome,
)
from channels.json_api import encoded
from channels.options import Clock, ProviderOptions, service
from channels.sms.templated_cloud import OPTIONS, TemplatedCloud

_VERSION, _SERVICE, _REGION = "2021-01-11", "sms", "ap-guangzhou"
_ALGORITHM = "TC3-HMAC-SHA256"
_JSON = "application/json; charset=utf-8"
_PAGE = 100  # the most that the look-up gives at once
_TEMPLATE_STATUSES = {
    0: TemplateStatus.APPROVED,
    1: TemplateStatus.SUBMITTED,
    2: TemplateStatus.SUBMITTED,  # passed, and not yet in force
    -1: TemplateStatus.REJECTED,
}

_OPTIONS = OPTIONS | {"secret_id", "secret_key", "sdk_app_id", "region"}


def tc3_authorization(
    secret_id: str, secret_key: str, service_name: str, host: str, content_type: str, body: bytes, timestamp: int
) -> str:
    """The header ``Authorization`` of a POST whose signed headers are content-type and host."""
    day = f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d}"
    headers = f"content-type:{content_type}\nhost:{host}\n"
    digest = hashlib.sha256(body).hexdigest()
    request = f"POST\n/\n\n{headers}\ncontent-type;host\n{digest}"
    scope = f"{day}/{service_name}/tc3_request"
    text = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"TC3{secret_key}".encode()
    for part in (day, service_name, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    return f"{_ALGORITHM} Credential={secret_id}/{scope}, SignedHeaders=content-type;host, Signature={signature}"


class TencentProvider(TemplatedCloud):
    """SendSms with a sign and templates. Options: see ``from_options``. Parameters go by their order, without names."""

    base_url = "https://sms.tencentcloudapi.com"
    codes = "tencent_codes.toml"
    # A value has at most 6 characters, and no link, a short one neither (Tencent Cloud, document 382/13301).
    slots = SlotRules(longest=6, links=False)

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        super().__init__(name, options, clock)
        self._secret_id = options.text("secret_id")
        self._secret_key = options.text("secret_key")
        self._app_id = options.text("sdk_app_id")
        self._region = options.text("region", _REGION)

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> TencentProvider:
        """Build from settings: secret_id, secret_key, sdk_app_id, sign_name, callback_secret (of the callbacks' URL);
        optional region (ap-guangzhou), base_url, timeout_seconds (10), concurrency (50), collections_approved_by and
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
                "PhoneNumberSet": [message.address],
                "SmsSdkAppId": self._app_id,
                "SignName": self._sign_name,
                "TemplateId": call.reference,
                "TemplateParamSet": [value for _, value in call.parameters],
                "SessionContext": message.reference,
            },
        )
        try:
            (status,) = answer["SendStatusSet"]
            code, number = str(status["Code"]), str(status["SerialNo"])
        except (KeyError, TypeError, ValueError):
            raise UnknownOutcome(ProviderReason.UNMAPPED) from None
        if code != "Ok":
            raise self._table.find(code).failure()
        return Accepted(number)

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """See ``channels.base.Provider``. What it does not list is unknown, never absent."""
        parameters = {
            "BeginTime": int(since.timestamp()) - 60,
            "EndTime": int(self._clock().timestamp()) + 60,
            "Offset": 0,
            "Limit": _PAGE,
            "PhoneNumber": message.address,
            "SmsSdkAppId": self._app_id,
        }
        try:
            answer = await self._call("PullSmsSendStatusByPhoneNumber", parameters)
            for each in answer.get("PullSmsSendStatusSet") or ():
                if each.get("SessionContext") == message.reference or (
                    provider_message_id and each.get("SerialNo") == provider_message_id
                ):
                    receipt = self._reported(str(each["SerialNo"]), each["ReportStatus"], each, message.reference)
                    return LookupAnswer(LookupResult.FOUND, receipt)
        except SendFailure as failure:
            raise TransientFailure(failure.reason, failure.code) from None
        except (KeyError, TypeError, AttributeError):
            raise TransientFailure(ProviderReason.UNMAPPED) from None
        return LookupAnswer(LookupResult.UNSUPPORTED)

    async def template_states(self, references: Sequence[str]) -> Sequence[TemplateReport]:
        """See ``channels.base.ReportsTemplates``."""
        known = [int(each) for each in references if each.isdigit()]
        answer = await self._call("DescribeSmsTemplateList", {"International": 0, "TemplateIdSet": known})
        reports = []
        for each in answer.get("DescribeTemplateStatusSet") or ():
            status = _TEMPLATE_STATUSES.get(each.get("StatusCode"), TemplateStatus.PAUSED)
            reports.append(TemplateReport(str(each.get("TemplateId")), status))
        return reports

    async def advice(self) -> Sequence[Advice]:
        """Of the templates. Raises SendFailure."""
        return [
            Advice(f"template {each.reference} is {each.status}", "see its state in the console; routes go round it")
            for each in await self.template_states(())
            if each.status is not TemplateStatus.APPROVED
        ]

    async def _call(self, action: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        body, timestamp, host = encoded(parameters), int(self._clock().timestamp()), self._api.host
        headers = {
            "Authorization": tc3_authorization(
                self._secret_id, self._secret_key, _SERVICE, host, _JSON, body, timestamp
            ),
            "Content-Type": _JSON,
            "Host": host,
            "X-TC-Action": action,
            "X-TC-Region": self._region,
            "X-TC-Timestamp": str(timestamp),
            "X-TC-Version": _VERSION,
        }
        answer = await self._api.call("POST", "/", body=body, headers=headers)
        found = answer.body.get("Response")
        if answer.status != 200 or not isinstance(found, dict):
            raise self._table.find("", "" if answer.status == 200 else str(answer.status)).failure(answer.retry_after)
        error = found.get("Error")
        if error is not None:
            raise self._table.find(str(error.get("Code", "")) if isinstance(error, dict) else "").failure()
        return found

    def events(self, body: bytes) -> CallbackEvents:
        """Reports and replies. Raises MalformedCallback."""
        receipts: list[Receipt] = []
        replies: list[Reply] = []
        try:
            found = json.loads(body)
            for each in [found] if isinstance(found, dict) else list(found):
                if "report_status" in each:
                    receipts.append(self._reported(str(each["sid"]), each["report_status"], each, ""))
                elif "text" in each:
                    address, text = f"+{each['nationcode']}{each['mobile']}", str(each["text"])
                    # A reply has no id of its own; a repeated one is the same in all of this.
                    known_by = hashlib.sha256(f"{address}|{each.get('time')}|{text}".encode()).hexdigest()[:32]
                    replies.append(Reply(self.name, known_by, address, text))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise MalformedCallback("report") from None
        return CallbackEvents(receipts, replies, body=b'{"result":0,"errmsg":"OK"}', media_type="application/json")

    def _reported(self, number: str, status: str, report: Mapping[str, Any], reference: str) -> Receipt:
        if status == "SUCCESS":
            return Receipt(self.name, ReceiptStatus.DELIVERED, number, reference, ProviderReason.DELIVERED)
        code = str(report.get("errmsg", report.get("Description", "")))[:40]
        return Receipt(self.name, ReceiptStatus.UNDELIVERED, number, reference, self._table.find(code).reason, code)
