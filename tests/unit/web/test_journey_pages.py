"""The pages of journeys: the drawing with its counts, a course in sentences in both languages, and persons' acts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import aiohttp
import pytest

from gateway.app.app import Gateway
from gateway.core.journey_events import JOURNEY_TYPES, JourneyReview
from gateway.identity.sessions import Sessions
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.definitions.model import NeedWord
from gateway.web import translations
from tests.support.api_gateway import app_of, open_api_gateway, serving
from tests.support.journeys.cases import SHORT, snapshot
from tests.support.journeys.gate import at_gate, offer_reached, run_journeys
from tests.support.storage.ledgers import NOW


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """A gateway with a live definition, and one case that has had its first message."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        definitions = opened.journeys.definitions
        await definitions.save("acme", SHORT, "user:ann")
        await definitions.submit("acme", "short", 1, "user:ann")
        await definitions.approve("acme", "short", 1, "user:bob")
        await definitions.publish("acme", "short", 1, "user:bob")
        await opened.journeys.cases.feed("acme", [CaseRecord("C-1", snapshot())], "key:1")
        await opened.journeys.runner.run(await opened.journeys.runner.due(NOW, 10))
        yield opened


async def _visitor(
    gateway: Gateway, url: str, role: str, tenant: str = "acme", *, name: str = "", now: datetime = NOW
) -> aiohttp.ClientSession:
    email = f"{name or role}@{tenant}.example.com"
    user = await gateway.ledger.users.add(tenant, name or role, email, role, "correct horse battery staple", now)
    cookie = await Sessions(gateway.ledger.database, gateway.ledger.signer).open(user, now)
    return aiohttp.ClientSession(url, cookies={"gateway_session": cookie})


async def _text(visitor: aiohttp.ClientSession, path: str) -> str:
    async with visitor.get(path) as answer:
        assert answer.status == 200, path
        return await answer.text()


async def test_a_viewer_sees_where_cases_are_and_what_happened(gateway: Gateway) -> None:
    """In English and in Chinese; a viewer decides nothing, and another tenant sees nothing."""
    [journey] = await gateway.journeys.reads.listed("acme", limit=10)
    path = f"/journeys/course/{journey['id']}"
    async with serving(app_of(gateway)) as url:
        async with await _visitor(gateway, url, "viewer") as visitor:
            assert "short" in await _text(visitor, "/journeys")
            drawn = await _text(visitor, "/journeys/short")
            assert re.search(r'class="count"[^>]*>1<', drawn)
            assert "short: 3 steps from top to bottom." in drawn
            course = await _text(visitor, path)
            assert "The case entered short." in course
            assert "Step remind was done." in course
            assert '<form method="post" class="stack"' not in course
            async with visitor.get("/language/zh?back=/journeys", allow_redirects=False) as answer:
                visitor.cookie_jar.update_cookies(answer.cookies)
            assert "案件进入 short。" in await _text(visitor, path)
        async with await _visitor(gateway, url, "viewer", "other") as stranger, stranger.get(path) as answer:
            assert answer.status == 404


async def test_a_course_says_why_a_message_was_not_sent(gateway: Gateway) -> None:
    """The step was done and its message accepted; an opt-out before the hand-over stopped it."""
    [journey] = await gateway.journeys.reads.listed("acme", limit=10)
    await gateway.path.borrowers.add_opt_out("acme", "B-1", None, None, "lender", "key:1")
    await gateway.path.pipeline.dispatch(await gateway.path.store.due(NOW, 10))
    async with serving(app_of(gateway)) as url, await _visitor(gateway, url, "viewer") as visitor:
        course = await _text(visitor, f"/journeys/course/{journey['id']}")
    assert '<span class="tag">Blocked</span>' in course
    assert "Borrower opted out" in course


async def test_an_approver_pauses_with_a_reason(gateway: Gateway) -> None:
    """The act is in the course, with who and why; without a reason nothing is done."""
    [journey] = await gateway.journeys.reads.listed("acme", limit=10)
    path = f"/journeys/course/{journey['id']}"
    async with serving(app_of(gateway)) as url, await _visitor(gateway, url, "approver") as visitor:
        found = re.search(r'name="form_token" value="([^"]+)"', await _text(visitor, path))
        assert found is not None
        for reason, status in (("", 422), ("asked by phone", 200)):
            form = {"form_token": found[1], "reason": reason}
            async with visitor.post(f"{path}/pause", data=form) as answer:
                assert answer.status == status
        assert "asked by phone" in await _text(visitor, path)


async def test_two_people_approve_a_gate_on_the_page(gateway: Gateway) -> None:
    """The card says what is needed; an unmet need 422 by its name, the same person 409; the second one passes it."""
    journey = await at_gate(gateway, offered=False)
    path = f"/journeys/course/{journey}"
    async with serving(app_of(gateway)) as url:
        async with await _visitor(gateway, url, "supervisor") as visitor:
            shown = await _text(visitor, path)
            assert "0 of 2 approvals" in shown
            assert re.search(r"Not met</span> A repayment plan was offered", shown)
            status, said = await _approve(visitor, path, shown)
            assert (status, "Not met: A repayment plan was offered" in said) == (422, True)
            await offer_reached(gateway)
            assert (await _approve(visitor, path, shown))[0] == 200
            status, said = await _approve(visitor, path, shown)
            assert (status, "Another person has to approve it" in said) == (409, True)
            assert "1 of 2 approvals" in await _text(visitor, path)
            assert f'href="{path}"' in await _text(visitor, "/desk/borrowers/B-1")
        async with await _visitor(gateway, url, "approver") as visitor:  # of definitions: no vote on a case
            shown = await _text(visitor, path)
            assert f"{path}/approve" not in shown
            assert (await _approve(visitor, path, shown))[0] == 403
        async with await _visitor(gateway, url, "compliance") as visitor:
            assert (await _approve(visitor, path, await _text(visitor, path)))[0] == 200
            assert "The legal step was approved" in await _text(visitor, path)


async def test_a_lapsed_gate_and_a_race_on_the_page(tmp_path: Path, redis_url: str) -> None:
    """After its time 409 until it is opened again; of three people at once two are counted, and one event is made."""
    now = [NOW]
    async with open_api_gateway(tmp_path, redis_url, clock=lambda: now[0]) as gateway:
        journey = await at_gate(gateway)
        path = f"/journeys/course/{journey}"
        now[0] += timedelta(days=6)
        await run_journeys(gateway)
        async with serving(app_of(gateway)) as url, AsyncExitStack() as stack:
            people = [
                await stack.enter_async_context(await _visitor(gateway, url, "supervisor", name=name, now=now[0]))
                for name in ("ann", "bob", "eve")
            ]
            pages = [await _text(each, path) for each in people]
            assert "The gate lapsed without enough approvals." in pages[0]
            assert (await _approve(people[0], path, pages[0]))[0] == 409
            assert (await _approve(people[0], path, pages[0], "reopen"))[0] == 200
            racing = (_approve(visitor, path, page) for visitor, page in zip(people, pages, strict=True))
            assert sorted(status for status, _ in await asyncio.gather(*racing)) == [200, 200, 409]
        course = await gateway.journeys.reads.find("acme", journey)
        assert course is not None
        assert [each["kind"] for each in course["events"]].count("case.legal_step_approved") == 1


async def _approve(visitor: aiohttp.ClientSession, path: str, shown: str, act: str = "approve") -> tuple[int, str]:
    token = re.search(r'name="form_token" value="([^"]+)"', shown)
    assert token is not None
    form = {"form_token": token[1], "reason": "papers checked"}
    async with visitor.post(f"{path}/{act}", data=form) as answer:
        return answer.status, await answer.text()


def test_every_event_has_a_sentence_in_both_languages() -> None:
    """The kinds that a course shows to persons, and why a journey waits for one."""
    for texts in translations.load({}).values():
        for kind in (
            *JOURNEY_TYPES,
            "journey_set_aside",
            "journey_taken_up",
            "case.gate_lapsed",
            "case.legal_step_approved",
            "case.promise_broken",
        ):
            assert texts.maybe(f"course_{kind.replace('.', '_')}", ""), (texts.language, kind)
        for need in get_args(NeedWord):
            assert texts.maybe(f"journey_need_{need}", ""), (texts.language, need)
        for why in JourneyReview:
            assert texts.maybe(f"journey_review_{why}", ""), (texts.language, why)
