"""Alibaba Cloud SMS and Tencent Cloud SMS: published signatures, look-ups, unsigned callbacks, collections off."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from alibabacloud_dysmsapi20170525.client import Client as AliyunClient
from alibabacloud_dysmsapi20170525.models import SendSmsRequest as AliyunSendSms
from alibabacloud_tea_openapi.models import Config as AliyunConfig
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.sms.v20210111 import models
from tencentcloud.sms.v20210111.sms_client import SmsClient

from channels.base import (
    BadSignature,
    CallbackRequest,
    Content,
    LookupResult,
    MalformedCallback,
    PermanentFailure,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    SlotRules,
    TemplateCall,
    TemplateReport,
    TemplateStatus,
    TransientFailure,
)
from channels.sms import CHANNEL
from channels.sms.aliyun import acs3_signature
from channels.sms.tencent import tc3_authorization
from tests.support.providers.chinese_sms import AliyunServer, ChineseSms, ChineseSmsServer, TencentServer
from tests.support.providers.fake_servers import TEXT, clock, message

TO, SECRET = "+8613800138000", "secret"
KINDS = ("aliyun", "tencent")
OPTIONS = {
    "aliyun": {"access_key_id": "key", "access_key_secret": SECRET},
    "tencent": {"secret_id": "key", "secret_key": SECRET, "sdk_app_id": "1400"},
}
R = ProviderReason


def _provider(kind: str, base_url: str = "http://127.0.0.1:1", **options: Any) -> Any:
    values = OPTIONS[kind] | {"sign_name": "行", "callback_secret": "of-the-url", "base_url": base_url} | options
    return CHANNEL.build(kind, kind, values, {"clock": clock})


def _message(to: str = TO, reference: str = "100", **changes: Any) -> Any:
    call = TemplateCall(reference, "", (("amount", "3,913.00"), ("day", "11月1日")))
    return message(to, content=Content(TEXT, template=call), **changes)


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ChineseSmsServer]:
    made = {"aliyun": AliyunServer, "tencent": TencentServer}[request.param]("key", SECRET)
    made.templates["100"] = ("amount", "day")
    await made.start()
    yield made
    await made.stop()


def _kind(server: ChineseSmsServer) -> str:
    return "aliyun" if isinstance(server, AliyunServer) else "tencent"


# ── signatures ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_published_signature_of_acs3() -> None:
    """The example of Alibaba Cloud's documentation."""
    empty = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": "ecs.cn-shanghai.aliyuncs.com",
        "x-acs-action": "RunInstances",
        "x-acs-content-sha256": empty,
        "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
        "x-acs-version": "2014-05-26",
    }
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    signature, names = acs3_signature("YourAccessKeySecret", "POST", "/", query, headers, empty)
    assert signature == "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    assert names == ";".join(headers)


def test_the_published_signature_of_tc3() -> None:
    """The example of Tencent Cloud's documentation."""
    body = rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
    given = ("AKID", "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE", "cvm", "cvm.tencentcloudapi.com")
    header = tc3_authorization(*given, "application/json; charset=utf-8", body, 1551113065)
    assert header.endswith("Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168")
    assert "Credential=AKID/2019-02-25/cvm/tc3_request" in header


async def test_tencents_own_client_and_ours_speak_to_the_same_server() -> None:
    """The server that recomputes our signatures takes those of the official client, and refuses a wrong secret's."""
    server = TencentServer("key", SECRET)
    server.templates["100"] = ("amount", "day")
    await server.start()
    request = models.SendSmsRequest()
    request.PhoneNumberSet, request.SmsSdkAppId, request.SignName = [TO], "1400", "行"
    request.TemplateId, request.TemplateParamSet, request.SessionContext = "100", ["3,913.00", "11月1日"], "ref"

    def send(secret: str) -> Any:
        http = HttpProfile(protocol="http", endpoint=f"127.0.0.1:{server.port}")
        return SmsClient(Credential("key", secret), "ap-guangzhou", ClientProfile(httpProfile=http)).SendSms(request)

    answer = await asyncio.to_thread(send, SECRET)
    assert answer.SendStatusSet[0].Code == "Ok"
    with pytest.raises(TencentCloudSDKException, match="AuthFailure"):
        await asyncio.to_thread(send, "other")
    provider = _provider("tencent", server.url)
    await provider.send(_message())
    await provider.close()
    theirs, ours = server.taken
    assert (theirs.to, theirs.template, theirs.values) == (ours.to, ours.template, ours.values)
    await server.stop()


async def test_alibabas_own_client_and_ours_speak_to_the_same_server() -> None:
    """As at Tencent; its client has the number in the URL, ours in the body, and the signatures of both are taken."""
    server = AliyunServer("key", SECRET)
    server.templates["100"] = ("amount", "day")
    await server.start()

    async def send(secret: str) -> Any:
        where = {"endpoint": f"127.0.0.1:{server.port}", "protocol": "HTTP"}
        client = AliyunClient(AliyunConfig(access_key_id="key", access_key_secret=secret, **where))
        values = json.dumps({"amount": "3,913.00", "day": "11月1日"})
        number = TO.removeprefix("+")
        given = {"phone_numbers": number, "sign_name": "行", "template_code": "100", "template_param": values}
        return await client.send_sms_async(AliyunSendSms(**given, out_id="ref"))

    answer = await send(SECRET)
    assert (answer.body.code, answer.body.biz_id) == ("OK", "biz0")
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        await send("other")
    provider = _provider("aliyun", server.url)
    await provider.send(_message())
    await provider.close()
    theirs, ours = server.taken
    assert (theirs.to, theirs.template, theirs.values) == (ours.to, ours.template, ours.values)
    await server.stop()


async def test_a_wrong_secret_is_the_accounts_fault(server: ChineseSmsServer) -> None:
    """Nothing was sent, and the account's people are called."""
    wrong = {"aliyun": {"access_key_secret": "x"}, "tencent": {"secret_key": "x"}}[_kind(server)]
    provider = _provider(_kind(server), server.url, **wrong)
    for call in (provider.send(_message()), provider.check()):
        with pytest.raises(TransientFailure) as failure:
            await call
        assert failure.value.reason is R.PROVIDER_CONFIG
    assert (server.taken, server.refused_signatures) == ([], 2)
    await provider.close()


# ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_tencents_parameters_are_short_and_no_links() -> None:
    """Six characters (an amount such as 1234.56 has seven) and no link; Aliyun's are checked by its template alone."""
    assert _provider("tencent").capability.slots == SlotRules(longest=6, links=False)
    assert _provider("aliyun").capability.slots == SlotRules()


@pytest.mark.parametrize("kind", KINDS)
def test_collections_are_off_until_somebody_signs(kind: str) -> None:
    """Both providers' rules forbid them; and free text is never sent."""
    capability = _provider(kind).capability
    assert (capability.categories, capability.templates_only) == ({"service"}, True)
    signed = _provider(kind, collections_approved_by="Counsel", collections_approved_on="2026-11-01").capability
    assert signed.categories == {"service", "collections"}


@pytest.mark.parametrize(
    ("to", "template", "failure", "reason"),
    [
        ("+8613800138095", "100", PermanentFailure, R.INVALID_ADDRESS),
        ("+8613800138096", "100", TransientFailure, R.RATE_LIMITED),
        (TO, "999", PermanentFailure, R.TEMPLATE_UNAVAILABLE),
        (TO, "", PermanentFailure, R.TEMPLATE_UNAVAILABLE),
    ],
)
async def test_refusals(
    server: ChineseSmsServer, to: str, template: str, failure: type[SendFailure], reason: str
) -> None:
    """Errors come with HTTP 200, and in the class that decides what happens next."""
    provider = _provider(_kind(server), server.url)
    with pytest.raises(failure) as raised:
        await provider.send(_message(to, template) if template else message(to))
    assert raised.value.reason is reason
    assert server.taken == []
    await provider.close()


async def test_a_look_up_finds_our_reference_alone(server: ChineseSmsServer) -> None:
    """Another message to the number is not ours; only who lists everything may say that one is absent."""
    provider = _provider(_kind(server), server.url)
    await provider.send(_message(number=1))
    found = await provider.lookup(_message(number=1), "", clock() - timedelta(minutes=5))
    assert found.result is LookupResult.FOUND
    other = await provider.lookup(_message(number=2), "", clock() - timedelta(minutes=5))
    assert other.result is (LookupResult.ABSENT if _kind(server) == "aliyun" else LookupResult.UNSUPPORTED)
    assert provider.capability.looks_up == (_kind(server) == "aliyun")
    await provider.close()


async def test_a_list_that_is_shorter_than_its_count_proves_nothing() -> None:
    """Aliyun may count a message before it lists it."""
    server = AliyunServer("key", SECRET)
    await server.start()
    server.taken = [ChineseSms("b", TO[1:], "100", [], "another")]
    provider = _provider("aliyun", server.url)
    assert (await provider.lookup(_message(), "", clock() - timedelta(minutes=5))).result is LookupResult.ABSENT

    async def empty(given: dict[str, str]) -> Any:
        from aiohttp import web

        return web.json_response({"Code": "OK", "TotalCount": 2, "SmsSendDetailDTOs": {"SmsSendDetailDTO": []}})

    server._details = empty  # type: ignore[method-assign]
    with pytest.raises(TransientFailure):
        await provider.lookup(_message(), "", clock() - timedelta(minutes=5))
    await provider.close()
    await server.stop()


async def test_states_of_templates(server: ChineseSmsServer) -> None:
    """Both can be asked, and the doctor reads them."""
    provider = _provider(_kind(server), server.url)
    assert await provider.template_states(["100", "999"]) == [
        TemplateReport("100", TemplateStatus.APPROVED),
        TemplateReport("999", TemplateStatus.REJECTED),
    ]
    assert await provider.check() == []
    await provider.close()


# ── callbacks ───────────────────────────────────────────────────────────────────────────────────────────────


def _callback(body: Any, secret: str = "of-the-url") -> CallbackRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CallbackRequest("http://gw/v1/receipts/x", {}, {}, raw, secret=secret)


def test_aliyuns_callbacks() -> None:
    """Reports carry our reference, a blocked number is an opt-out, replies come from mainland numbers without 86."""
    events = _provider("aliyun").read_events(
        _callback(
            [
                {"success": True, "biz_id": "b1", "out_id": "ref", "err_code": "DELIVERED"},
                {"success": False, "biz_id": "b2", "out_id": "ref2", "err_code": "W-BLACK"},
                {"success": False, "biz_id": "b3", "err_code": "MK:0001"},
                {"phone_number": "13800138000", "content": "退订", "sequence_id": 9},
                {"something": "new"},
            ]
        )
    )
    assert events.receipts == [
        Receipt("aliyun", ReceiptStatus.DELIVERED, "b1", "ref", R.DELIVERED),
        Receipt("aliyun", ReceiptStatus.OPTED_OUT, "b2", "ref2", R.OPTED_OUT_AT_PROVIDER, "W-BLACK"),
        Receipt("aliyun", ReceiptStatus.UNDELIVERED, "b3", "", R.UNMAPPED, "MK:0001"),
    ]
    assert events.replies == [Reply("aliyun", "9", TO, "退订")]
    assert json.loads(events.body)["code"] == 0


def test_tencents_callbacks() -> None:
    """Reports are known by the provider's id; a repeated reply has the same id as before."""
    report = {"sid": "s1", "report_status": "SUCCESS", "errmsg": "DELIVRD", "mobile": "13800138000"}
    provider = _provider("tencent")
    assert provider.read_receipts(_callback([report])) == [
        Receipt("tencent", ReceiptStatus.DELIVERED, "s1", "", R.DELIVERED)
    ]
    reply = {"mobile": "13800138000", "nationcode": "86", "text": "T", "time": 1700000000, "sign": "行"}
    (first,) = provider.read_events(_callback(reply)).replies
    (again,) = provider.read_events(_callback(reply)).replies
    assert (first.address, first.text, first) == (TO, "T", again)
    assert json.loads(provider.read_events(_callback([report])).body) == {"result": 0, "errmsg": "OK"}


@pytest.mark.parametrize("kind", KINDS)
def test_unsigned_callbacks_need_the_urls_secret(kind: str) -> None:
    """Who does not know the path's secret says nothing; nonsense with it is malformed."""
    for secret in ("", "of-the-ur", "é"):
        with pytest.raises(BadSignature):
            _provider(kind).read_events(_callback([], secret))
    for body in (b"", b"7", b"[7]", b"[" * 100_000, [{"success": True, "report_status": "x"}], [{}, 7]):
        with pytest.raises(MalformedCallback):
            _provider(kind).read_events(_callback(body))
