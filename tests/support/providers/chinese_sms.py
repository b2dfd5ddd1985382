"""Alibaba Cloud SMS and Tencent Cloud SMS on loopback: they recompute signatures, check shapes, and report by callback.

The last two digits of the number: 90 is reported as not delivered, 94 is taken and never answered, 95 is refused, 96 is
limited at the first try. Written from the published descriptions, apart from the providers, so that both are checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from aiohttp import web

from channels.loopback import LoopbackServer


@dataclass
class ChineseSms:
    """A message that was taken."""

    id: str
    to: str
    template: str
    values: list[str]
    reference: str
    status: str = field(default="waiting")


class ChineseSmsServer(LoopbackServer):
    """What both have in common. ``templates`` has the number or the names of each template's parameters."""

    def __init__(self, key: str, secret: str, callback_url: str = "") -> None:
        super().__init__()
        self.key = key
        self.secret = secret
        self.callback_url = callback_url
        self.taken: list[ChineseSms] = []
        self.templates: dict[str, tuple[str, ...]] = {}
        self.refused_signatures = 0
        self.now: Callable[[], float] = time.time
        self._tried: set[str] = set()

    def routes(self, app: web.Application) -> None:
        app.router.add_route("*", "/", self._handle)

    async def _handle(self, request: web.Request) -> web.Response:
        raise NotImplementedError

    def once(self, number: str) -> bool:
        """Whether this is the first try for a number."""
        first = number not in self._tried
        self._tried.add(number)
        return first

    async def take(self, taken: ChineseSms) -> None:
        self.taken.append(taken)
        self.later(self._report(taken))
        if taken.to.endswith("94"):
            await asyncio.sleep(120)

    async def _report(self, taken: ChineseSms) -> None:
        taken.status = "failed" if taken.to.endswith("90") else "delivered"
        if self.callback_url:
            body = json.dumps([self.report(taken)]).encode()
            await self.call_back(self.callback_url, body, {"Content-Type": "application/json"})

    def report(self, taken: ChineseSms) -> dict[str, Any]:
        raise NotImplementedError


class AliyunServer(ChineseSmsServer):
    """RPC of ``dysmsapi``: parameters in the query or in a form, signed by ACS3."""

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._signed(request, body):
            self.refused_signatures += 1
            return web.json_response({"Code": "SignatureDoesNotMatch", "Message": "x"}, status=400)
        given = {**request.query, **dict(parse_qsl(body.decode(), keep_blank_values=True))}
        answers = {"SendSms": self._send, "QuerySendDetails": self._details, "GetSmsTemplate": self._template,
                   "GetSmsSign": self._sign}  # fmt: skip
        return await answers[request.headers["x-acs-action"]](given)

    def _signed(self, request: web.Request, body: bytes) -> bool:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        digest = hashlib.sha256(body).hexdigest()
        if scheme != "ACS3-HMAC-SHA256" or request.headers.get("x-acs-content-sha256") != digest:
            return False
        names = fields["SignedHeaders"].split(";")
        lines = [f"{name}:{request.headers[name].strip()}\n" for name in names]
        query = "&".join(sorted(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in request.query.items()))
        canonical = f"{request.method}\n/\n{query}\n{''.join(lines)}\n{';'.join(names)}\n{digest}"
        text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        expected = hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        needed = {"host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-version"}
        return needed <= set(names) and expected == fields["Signature"] and fields["Credential"] == self.key

    async def _send(self, given: dict[str, str]) -> web.Response:
        to, values = given["PhoneNumbers"], json.loads(given["TemplateParam"])
        names = self.templates.get(given["TemplateCode"])
        if names is None:
            return web.json_response({"Code": "isv.SMS_TEMPLATE_ILLEGAL"})
        if set(values) != set(names):
            return web.json_response({"Code": "isv.TEMPLATE_MISSING_PARAMETERS"})
        if to.endswith("95"):
            return web.json_response({"Code": "isv.MOBILE_NUMBER_ILLEGAL"})
        if to.endswith("96") and self.once(to):
            return web.json_response({"Code": "isv.BUSINESS_LIMIT_CONTROL"})
        taken = ChineseSms(f"biz{len(self.taken)}", to, given["TemplateCode"], list(values.values()), given["OutId"])
        await self.take(taken)
        return web.json_response({"Code": "OK", "Message": "OK", "BizId": taken.id, "RequestId": "r"})

    async def _details(self, given: dict[str, str]) -> web.Response:
        found = [each for each in self.taken if each.to == given["PhoneNumber"]]
        states = {"waiting": 1, "failed": 2, "delivered": 3}
        details = [{"OutId": each.reference, "SendStatus": states[each.status], "ErrCode": "MK:0000"} for each in found]
        start = (int(given["CurrentPage"]) - 1) * int(given["PageSize"])
        some = details[start : start + int(given["PageSize"])]
        answer = {"Code": "OK", "TotalCount": len(details), "SmsSendDetailDTOs": {"SmsSendDetailDTO": some}}
        return web.json_response(answer)

    async def _template(self, given: dict[str, str]) -> web.Response:
        status = "1" if given["TemplateCode"] in self.templates else "2"
        return web.json_response({"Code": "OK", "TemplateStatus": status})

    async def _sign(self, given: dict[str, str]) -> web.Response:
        return web.json_response({"Code": "OK", "SignStatus": 1 if given["SignName"] == "行" else 0})

    def report(self, taken: ChineseSms) -> dict[str, Any]:
        good = taken.status == "delivered"
        return {"phone_number": taken.to, "success": good, "err_code": "DELIVERED" if good else "MK:0001",
                "biz_id": taken.id, "out_id": taken.reference, "sms_size": "1"}  # fmt: skip


class TencentServer(ChineseSmsServer):
    """JSON of ``sms.tencentcloudapi.com``, signed by TC3."""

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._signed(request, body):
            self.refused_signatures += 1
            return _answer({"Error": {"Code": "AuthFailure.SignatureFailure", "Message": "x"}})
        given = json.loads(body)
        answers = {"SendSms": self._send, "PullSmsSendStatusByPhoneNumber": self._pull,
                   "DescribeSmsTemplateList": self._templates}  # fmt: skip
        return _answer(await answers[request.headers["X-TC-Action"]](given))

    def _signed(self, request: web.Request, body: bytes) -> bool:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        stamp = request.headers.get("X-TC-Timestamp", "0")
        if scheme != "TC3-HMAC-SHA256" or abs(self.now() - int(stamp)) > 300:
            return False
        key, day, service, end = fields["Credential"].split("/")
        names = fields["SignedHeaders"].split(";")
        lines = "".join(f"{name}:{request.headers[name].strip().lower()}\n" for name in names)
        canonical = f"POST\n/\n\n{lines}\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"TC3-HMAC-SHA256\n{stamp}\n{day}/{service}/{end}\n{hashed}"
        signing = f"TC3{self.secret}".encode()
        for part in (day, service, end):
            signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
        expected = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
        return key == self.key and expected == fields["Signature"] and {"content-type", "host"} <= set(names)

    async def _send(self, given: dict[str, Any]) -> dict[str, Any]:
        (to,), values = given["PhoneNumberSet"], given["TemplateParamSet"]
        names = self.templates.get(given["TemplateId"])
        code = "Ok"
        if names is None:
            code = "FailedOperation.TemplateIncorrectOrUnapproved"
        elif len(values) != len(names):
            code = "FailedOperation.TemplateParamSetNotMatchApprovedTemplate"
        elif to.endswith("95"):
            code = "InvalidParameterValue.IncorrectPhoneNumber"
        elif to.endswith("96") and self.once(to):
            code = "LimitExceeded.PhoneNumberThirtySecondLimit"
        reference = given.get("SessionContext", "")
        taken = ChineseSms(f"sid{len(self.taken)}", to, given["TemplateId"], values, reference)
        if code == "Ok":
            await self.take(taken)
        number = taken.id if code == "Ok" else ""
        status = {"SerialNo": number, "PhoneNumber": to, "Fee": 1, "SessionContext": reference, "Code": code}
        return {"SendStatusSet": [status]}

    async def _pull(self, given: dict[str, Any]) -> dict[str, Any]:
        found = [each for each in self.taken if each.to == given["PhoneNumber"] and each.status != "waiting"]
        words = {"failed": "FAIL", "delivered": "SUCCESS"}
        statuses = [
            {"SerialNo": each.id, "ReportStatus": words[each.status], "SessionContext": each.reference}
            for each in found
        ]
        return {"PullSmsSendStatusSet": statuses}

    async def _templates(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted = given.get("TemplateIdSet") or [int(each) for each in self.templates]
        found = [
            {"TemplateId": each, "StatusCode": 0 if str(each) in self.templates else -1, "ReviewReply": ""}
            for each in wanted
        ]
        return {"DescribeTemplateStatusSet": found}

    def report(self, taken: ChineseSms) -> dict[str, Any]:
        good = taken.status == "delivered"
        return {"mobile": taken.to[3:], "nationcode": "86", "sid": taken.id, "user_receive_time": "2026-12-01 10:00:00",
                "report_status": "SUCCESS" if good else "FAIL", "errmsg": "DELIVRD" if good else "UNDELIV"}  # fmt: skip


def _answer(found: dict[str, Any]) -> web.Response:
    # Their client looks for an error only where the media type has no charset, as theirs has none.
    body = json.dumps({"Response": {**found, "RequestId": "r"}}).encode()
    return web.Response(body=body, content_type="application/json")
