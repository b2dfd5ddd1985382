"""Borrowers' own pages over HTTP on a real ledger: what a link opens, for how long, and what is recorded by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from gateway.app.app import Gateway
from gateway.identity.quotas import TenantQuota
from tests.support.api_gateway import Answer, Client, app_of, open_api_gateway, serving
from tests.support.api_gateway import request as body_of
from tests.support.storage.ledgers import NOW

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Wall:
    """A clock that tests advance."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class LinkHolder:
    """A borrower with the link of an e-mail, and the lender's own client."""

    gateway: Gateway
    lender: Client
    nobody: Client
    path: str
    wall: Wall

    async def get(self, page: str = "") -> Answer:
        return await self.nobody.get(self.path + page)

    async def post(self, page: str, *fields: tuple[str, str]) -> Answer:
        return await self.nobody.post(self.path + page, data=urlencode(fields), headers=FORM, allow_redirects=False)

    async def record(self) -> dict[str, Any]:
        return dict((await self.lender.get("/v1/borrowers/B-1")).json)


@pytest.fixture
async def reader(tmp_path: Path, redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[LinkHolder]:
    """``request.param``: pages per second; without it there is no limit."""
    wall = Wall()
    quotas = {"": TenantQuota(borrower_requests_per_second=getattr(request, "param", 0))}
    async with open_api_gateway(tmp_path, redis_url, clock=wall, quotas=quotas) as gateway:
        _, key = await gateway.ledger.keys.create("acme", "test", ("send", "read", "manage"), NOW)
        async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
            lender = Client(session, url, key)
            accepted = await lender.post("/v1/notifications", body_of(route=["email"]))
            shown = (await lender.get(accepted.json["links"]["self"])).json
            token = gateway.ledger.signer.message_token(shown["deliveries"][0]["id"])
            yield LinkHolder(gateway, lender, lender.holding(""), f"/m/{token}", wall)


async def test_a_link_opens_for_a_time_and_then_says_so_kindly(reader: LinkHolder) -> None:
    """No script, no cookie, no referrer, nothing of the borrower in the address; after 30 days: how to get another."""
    page = await reader.get()
    assert (page.status, page.headers["Referrer-Policy"]) == (200, "no-referrer")
    assert "Set-Cookie" not in page.headers
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "script" not in page.raw.decode() + page.headers["Content-Security-Policy"]
    reader.wall.now += timedelta(days=30)
    for name in ("", "/messages", "/preferences", "/help"):
        late = await reader.get(name)
        assert late.status == 410
        assert "如何取得新連結" in late.raw.decode()
        assert "/v1/unsubscribe/" in late.raw.decode()
    assert (await reader.post("/reply", ("text", "hello"))).status == 410
    assert (await reader.record())["replies"] == []
    unsubscribe = reader.path.replace("/m/", "/v1/unsubscribe/")
    assert (await reader.nobody.post(unsubscribe)).status == 200
    assert (await reader.nobody.get(f"{reader.path}0")).status == 404


async def test_a_link_to_an_address_that_is_not_the_borrowers_opens_nothing(reader: LinkHolder) -> None:
    """A wrong person said so: what was sent there shows them nothing of the borrower any more."""
    given = {"channel": "email", "address": "b1@example.com", "reason": "wrong_party"}
    assert (await reader.lender.post("/v1/suppressions", given)).status == 200
    assert (await reader.get("/messages")).status == 410


async def test_a_channel_is_switched_off_and_on_and_others_stops_stay(reader: LinkHolder) -> None:
    """Off is an opt-out of the channel, said twice is once; what the lender recorded is not lifted here."""
    on = [("channel", each) for each in ("email", "inapp", "sms")]
    for _ in range(2):
        assert (await reader.post("/preferences", *on[:2])).status == 303
    [opt_out] = (await reader.record())["opt_outs"]
    assert (opt_out["channel"], opt_out["source"], opt_out["address_digest"]) == ("sms", "own_page", None)
    given = {"channel": "inapp", "source": "telephone"}
    await reader.lender.post("/v1/borrowers/B-1/opt-outs", given)
    await reader.post("/preferences", *on)
    assert [each["source"] for each in (await reader.record())["opt_outs"]] == ["telephone"]
    assert "先前已停止" in (await reader.get("/preferences")).raw.decode()


async def test_a_link_can_not_fill_the_record(reader: LinkHolder) -> None:
    """Switched off and on without end, or stopped and undone: after some ten times one can only decline."""
    unsubscribe, on = reader.path.replace("/m/", "/v1/unsubscribe/"), ("email", "inapp", "sms")
    for number in range(40):
        await reader.post(
            "/preferences", ("language", ("en", "zh-Hans")[number % 2]), *(("channel", each) for each in on)
        )
    before = (await reader.record())["chosen"]
    answer = await reader.post("/preferences", ("language", ""), ("channel", "email"), ("channel", "inapp"))
    assert (answer.status, (await reader.record())["chosen"]) == (429, before)
    assert [each["channel"] for each in (await reader.record())["opt_outs"]] == ["sms"]
    for _ in range(10):
        await reader.nobody.post(unsubscribe)
        await reader.nobody.post(f"{unsubscribe}/undo")
    assert sorted(each["channel"] for each in (await reader.record())["opt_outs"]) == ["email", "sms"]
    assert len((await reader.lender.get("/v1/borrowers/B-1/timeline?limit=500")).json["events"]) < 40
    reader.wall.now += timedelta(hours=1)
    assert "已恢复" in (await reader.nobody.post(f"{unsubscribe}/undo")).raw.decode()


async def test_hours_that_leave_none_are_refused(reader: LinkHolder) -> None:
    """The law's window for tw ends in the evening: nobody can choose hours in which nothing may be sent."""
    for begins, ends in (("22:00", "23:00"), ("10:00", ""), ("12:00", "10:00"), ("3:00", "4:00")):
        answer = await reader.post("/preferences", ("from", begins), ("to", ends), ("channel", "sms"))
        assert answer.status == 422, (begins, ends)
    assert (await reader.record())["chosen"] == {"windows": [], "language": ""}
    await reader.post("/preferences", ("from", "19:00"), ("to", "20:00"), ("channel", "sms"), ("language", "en"))
    another = body_of(2, route=["sms"], borrower=body_of()["borrower"])
    verdict = (await reader.lender.post("/v1/decisions", another)).json
    assert (verdict["verdict"], verdict["reason"]) == ("defer", "borrower_wish")
    assert verdict["until"] == "2026-11-24T11:00:00.000Z"


async def test_a_form_with_a_fault_comes_back_as_it_was_filled_in(reader: LinkHolder) -> None:
    """A channel that was switched off beside wrong hours is still off in the form, or the next Save would lose it."""
    typed = (("from", "18:00"), ("to", "09:00"), ("language", "en"), ("channel", "email"), ("channel", "inapp"))
    page = (await reader.post("/preferences", *typed)).raw.decode()
    for part in ("<option selected>18:00", "<option selected>09:00", 'value="en" checked', 'value="email" checked'):
        assert part in page
    assert 'name="channel" value="sms">' in page
    assert 'name="channel" value="sms" checked' in (await reader.get("/preferences")).raw.decode()


async def test_a_reply_is_recorded_once_and_a_flood_is_not(reader: LinkHolder) -> None:
    """The same form sent twice is one reply; after ten in an hour the page asks to call."""
    said = [await reader.post("/reply", ("text", "請打電話給我"), ("form", "a")) for _ in range(2)]
    assert [each.status for each in said] == [200, 303]  # the answer is given once
    assert len((await reader.record())["replies"]) == 1
    assert (await reader.post("/reply", ("text", " "))).status == 422
    assert (await reader.post("/reply", ("text", "x" * 1001))).status == 422
    for number in range(9):
        await reader.post("/reply", ("text", f"again {number}"), ("form", str(number)))
    assert (await reader.post("/reply", ("text", "once more"), ("form", "z"))).status == 429


async def test_a_stop_that_is_written_on_the_page_is_in_force(reader: LinkHolder) -> None:
    """It is a reply to the message of the link, from its address."""
    assert (await reader.post("/reply", ("text", "退訂"), ("form", "a"))).status in (200, 303)
    assert [(each["channel"], each["source"]) for each in (await reader.record())["opt_outs"]] == [("email", "reply")]


@pytest.mark.parametrize("reader", [0.01], indirect=True)
async def test_pages_are_limited_for_each_borrower(reader: LinkHolder) -> None:
    """Whoever opens them too often is asked to wait, on a page with a Retry-After; declining is not limited."""
    assert (await reader.get()).status == 200
    refused = await reader.get()
    assert refused.status == 429
    assert (await reader.nobody.post(reader.path.replace("/m/", "/v1/unsubscribe/"))).status == 200
    assert refused.headers["Content-Type"].startswith("text/html")
    assert int(refused.headers["Retry-After"]) >= 1
