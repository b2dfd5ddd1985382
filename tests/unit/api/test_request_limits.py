"""Limits on what a request may hold, judged before anything is built from it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from channels.email.parsing import LARGEST
from gateway.api import inbox
from gateway.api.app import create_app
from gateway.api.http import bodies
from gateway.api.http.bodies import JsonLimits, read_batch
from gateway.api.http.parts import GatewayClock, HttpSettings, Parts
from gateway.api.http.problems import ErrorBudget, Problem
from gateway.api.requests.borrowers import HoldIn
from gateway.api.requests.notifications import BatchItemIn, NotificationIn
from gateway.app.app import Gateway
from gateway.app.http import http_parts
from gateway.receiving import CallbackReceiver
from gateway.web import access
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW
from tests.support.waiting import LIMIT_SECONDS, eventually


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A case system's client, of the tenant acme."""
    _, key = await gateway.ledger.keys.create("acme", "test", ("send", "read", "manage"), NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver fails the test when it is given a callback."""

    async def never(*_arguments: object) -> None:
        raise AssertionError("the callback was handed on")

    monkeypatch.setattr(CallbackReceiver, "receive", never)
    monkeypatch.setattr(CallbackReceiver, "reply", never)


@pytest.mark.parametrize(
    ("piece", "pieces"),
    [(b"{" + b"," * 99_999, 4), (b"," * 20_000, 2), (b"[" * 100_000, 4)],
    ids=["more than a body can have", "more than its objects can have", "lists"],
)
async def test_a_body_of_too_many_values_is_not_read_to_its_end(piece: bytes, pieces: int) -> None:
    """Separators are counted as they arrive: so many of forty pieces are read."""
    read: list[int] = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": piece, "more_body": len(read) < 40}

    app = FastAPI()
    app.state.parts = Parts(HttpSettings(public_url="", max_body_bytes=4_194_304))
    scope = {"type": "http", "headers": [(b"content-type", b"application/json")], "app": app}
    with pytest.raises(Problem) as refused:
        await read_batch(Request(scope, receive), JsonLimits(100_000 if b"{" in piece else 30_000, 500))
    assert (refused.value.kind, len(read)) == ("invalid_request", pieces)


# ── callbacks ──────────────────────────────────────────────────────────────────────────────────────────────────────

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SIGNED = {**FORM, "X-Twilio-Signature": "x"}


@pytest.mark.parametrize("path", ["receipts", "inbound"])
@pytest.mark.usefixtures("unread")
async def test_a_large_callback_is_refused_unparsed(client: Client, gateway: Gateway, path: str) -> None:
    """A form of 64 kB and one byte is 413 and counted, whether its length is declared or it comes in chunks."""
    body = b"a=" + b"x" * 65_535

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    for data in (body, chunks()):
        refused = await client.holding("").post(f"/v1/{path}/twilio", data=data, headers=SIGNED)
        assert (refused.status, refused.problem) == (413, "too_large")
    assert (
        b'gateway_callbacks_refused_total{provider="twilio",reason="too_large"} 2.0' in gateway.path.metrics.render()[0]
    )


@pytest.mark.parametrize("path", ["receipts", "inbound"])
@pytest.mark.usefixtures("unread")
async def test_a_callback_of_many_fields_is_refused_unparsed(client: Client, path: str) -> None:
    """A form of 201 fields is 400 before a provider sees it."""
    body = urlencode({f"f{number}": "" for number in range(201)})
    refused = await client.holding("").post(f"/v1/{path}/twilio", data=body, headers=SIGNED)
    assert (refused.status, refused.problem) == (400, "malformed_callback")


@pytest.mark.parametrize("path", ["receipts", "inbound"])
async def test_a_callback_of_an_unknown_provider_is_not_read(client: Client, path: str) -> None:
    """404 although the body is larger than any provider may send: it is not looked at."""
    refused = await client.holding("").post(f"/v1/{path}/no-such", data=b"x" * 6_000_000, headers=FORM)
    assert (refused.status, refused.problem) == (404, "not_found")


async def test_a_mail_may_be_larger_than_a_form(client: Client) -> None:
    """A mail provider's callback is read up to 1 MB: it fails for its missing token, and above that for its size."""
    for size, problem in ((LARGEST, "bad_signature"), (LARGEST + 1, "too_large")):
        refused = await client.holding("").post("/v1/receipts/relay", data=b"x" * size)
        assert refused.problem == problem


# ── JSON bodies ────────────────────────────────────────────────────────────────────────────────────────────────────

ONE, MANY, DECIDE, HOLD = (
    "/v1/notifications",
    "/v1/notifications/batch",
    "/v1/decisions",
    "/v1/borrowers/B-1/holds/dispute",
)
JSON = {"Content-Type": "application/json"}


def nested(depth: int) -> Any:
    """A list in a list, ``depth`` of them."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseModel]]:
    """The models that were asked to validate something."""
    asked: list[type[BaseModel]] = []
    for model in (BatchItemIn, NotificationIn, HoldIn):
        validate = model.model_validate

        def counted(value: Any, model: Any = model, validate: Any = validate) -> Any:
            asked.append(model)
            return validate(value)

        monkeypatch.setattr(model, "model_validate", counted)
    return asked


TOO_MUCH = [
    ("bytes", request(metadata={"a": "x" * 17_000}), 413, "too_large"),
    ("depth", request(metadata={"a": nested(7)}), 422, "invalid_request"),
    ("values", request(metadata={str(number): 0 for number in range(500)}), 422, "invalid_request"),
    ("unknown fields", {str(number): 0 for number in range(501)}, 422, "invalid_request"),
]


@pytest.mark.parametrize(("body", "status", "problem"), [row[1:] for row in TOO_MUCH], ids=[row[0] for row in TOO_MUCH])
async def test_an_item_beyond_its_limits_is_not_validated(
    client: Client, validated: list[type[BaseModel]], body: Any, status: int, problem: str
) -> None:
    """More than 16 kB, 8 levels or 500 values: refused before validation, alone and in its place of a batch."""
    alone = await client.post(ONE, body)
    assert (alone.status, alone.problem) == (status, problem)
    assert validated == []
    batch = (await client.post(MANY, {"notifications": [request(), body]})).json
    assert [each["status"] for each in batch["results"]] == [202, status]
    assert validated == [BatchItemIn]


async def test_an_item_at_its_limits_is_taken(client: Client) -> None:
    """Variables and metadata may be as deep and as many as their own limits say."""
    body = request(metadata={"a": nested(5), **{str(number): 0 for number in range(200)}, "text": "x" * 4000})
    assert (await client.post(ONE, body)).status == 202


async def test_an_item_at_its_size_may_be_all_commas(client: Client) -> None:
    """What is counted while a batch arrives refuses none whose items are within their limits."""
    item = request(metadata={"text": "," * 4000}, idempotency_key="commas")
    assert (await client.post(MANY, {"notifications": [item]})).json["results"][0]["status"] == 202


async def test_wrong_items_beyond_fifty_share_one_problem() -> None:
    """An item for which no error can be listed any more is validated, and nothing more is made for it."""
    budget = ErrorBudget()
    budget.left = 0
    problems = []
    for _ in range(2):
        with pytest.raises(Problem) as refused:
            bodies.validated(NotificationIn, {"template": 5}, "/notifications/0", budget)
        problems.append(refused.value)
    assert problems == [budget.unlisted, budget.unlisted]


async def test_errors_of_a_batch_end_at_fifty(client: Client) -> None:
    """A thousand empty items: fifty errors in all, then items without errors that say why; the answer stays small."""
    answer = await client.post(MANY, {"notifications": [{}] * 1000})
    results = answer.json["results"]
    assert (len(results), answer.json["rejected"], {each["status"] for each in results}) == (1000, 1000, {422})
    assert sum(len(each.get("errors", ())) for each in results) == 50
    assert "errors" not in results[-1]
    assert results[-1]["detail"] == "An answer lists 50 errors at most: fix those first."
    assert len(answer.raw) < 200_000


async def test_a_batch_of_unknown_fields_is_answered_beside_others(client: Client) -> None:
    """3 MB of unknown fields: other requests are answered before that one, and its answer is small."""
    item = "{" + ",".join(f'"{number:05}":0' for number in range(300)) + "}"
    body = '{"notifications":[' + ",".join([item] * 900) + "]}"
    large = asyncio.create_task(client.post(MANY, data=body.encode(), headers=JSON))
    while not large.done():
        assert (await client.get("/healthz")).status == 200
    answer = await large
    assert (answer.json["rejected"], len(answer.raw) < 200_000) == (900, True)


BROAD = b'{"notifications":[' + b",".join([b"1"] * 400_000) + b"]}"
DEEP = b'{"notifications":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(("path", "method"), [(ONE, "POST"), (MANY, "POST"), (DECIDE, "POST"), (HOLD, "PUT")])
@pytest.mark.parametrize("body", [BROAD, DEEP], ids=["broad", "deep"])
async def test_no_body_is_too_much(client: Client, path: str, method: str, body: bytes) -> None:
    """Hundreds of thousands of values or levels are a 4xx with a sentence, on every route that reads JSON."""
    refused = await client.call(method, path, data=body, headers=JSON)
    assert refused.problem in ("too_large", "invalid_request")


async def test_a_small_body_is_judged_before_it_is_validated(client: Client, validated: list[type[BaseModel]]) -> None:
    """What is no notification has limits too: 10,000 values and 8 levels."""
    for value in ([0] * 10_001, nested(9)):
        refused = await client.call("PUT", HOLD, {"reason": value})
        assert (refused.status, refused.pointers) == (422, [""])
    assert validated == []


@pytest.mark.parametrize(
    "body", [b'{"notifications":[{"a":"\xff"}]}', b'{"notifications":[1', b'{"notifications":[1]}}']
)
async def test_a_batch_that_is_no_json_is_refused_whole(client: Client, body: bytes) -> None:
    """400 for what is no JSON anywhere, although the items are decoded one by one."""
    refused = await client.post(MANY, data=body, headers=JSON)
    assert (refused.status, refused.problem) == (400, "malformed_json")


async def test_errors_of_one_body_end_at_fifty(client: Client) -> None:
    """One item with 100 unknown fields lists 50 errors, and says that there are more."""
    refused = await client.post(ONE, json.loads("{" + ",".join(f'"x{number}":0' for number in range(100)) + "}"))
    assert (refused.status, len(refused.pointers)) == (422, 50)
    assert refused.json["detail"] == "An answer lists 50 errors at most: fix those first."


# ── streams ────────────────────────────────────────────────────────────────────────────────────────────────────────

STREAM = "/v1/inbox/stream"


def app_of_borrower(client: Client, gateway: Gateway, borrower: str = "B-1") -> Client:
    return client.holding(gateway.ledger.signer.borrower_token("acme", borrower, NOW + timedelta(hours=1)))


async def open_stream(stack: AsyncExitStack, borrower: Client) -> aiohttp.ClientResponse:
    """A stream of which the first event has come; it ends with ``stack``."""
    headers = {"Authorization": f"Bearer {borrower.token}"}
    response = await stack.enter_async_context(borrower.session.get(borrower.url + STREAM, headers=headers))
    assert (await response.content.readline()).startswith(b"event: unread")
    return response


async def test_a_borrower_has_three_streams(client: Client, gateway: Gateway) -> None:
    """The fourth is 429 until one of the three has ended; other borrowers are not concerned."""
    borrower = app_of_borrower(client, gateway)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await open_stream(stack, borrower)
        async with AsyncExitStack() as third:
            await open_stream(third, borrower)
            assert b"gateway_inbox_streams 3.0" in gateway.path.metrics.render()[0]
            refused = await borrower.get(STREAM)
            assert (refused.status, refused.problem) == (429, "too_many_streams")
            assert int(refused.headers["Retry-After"]) > 0
            await open_stream(stack, app_of_borrower(client, gateway, "B-2"))

        async def ended() -> bool:
            await gateway.redis.feed_notifier.publish("acme", "B-1")
            return b"gateway_inbox_streams 3.0" in gateway.path.metrics.render()[0]

        await eventually(ended)
        await open_stream(stack, borrower)


async def test_a_process_has_a_limit_of_streams(
    client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit of the process, a borrower without any stream is refused as well."""
    monkeypatch.setattr(inbox, "_STREAMS", 1)
    async with AsyncExitStack() as stack:
        await open_stream(stack, app_of_borrower(client, gateway))
        refused = await app_of_borrower(client, gateway, "B-2").get(STREAM)
        assert (refused.status, refused.problem) == (429, "too_many_streams")


async def test_a_stream_ends_with_its_token(client: Client, gateway: Gateway) -> None:
    """When the token has expired, the stream ends without the message that comes then."""
    now = NOW
    others = [each for each in http_parts(gateway) if not isinstance(each, GatewayClock)]
    app = create_app(Parts(GatewayClock(lambda: now), *others))
    async with serving(app) as url, AsyncExitStack() as stack:
        borrower = replace(app_of_borrower(client, gateway), url=url)
        response = await open_stream(stack, borrower)
        now = NOW + timedelta(hours=1)
        await gateway.providers.inbox.put("acme", "B-1", "dlv_1", "too late", "x")
        async with asyncio.timeout(LIMIT_SECONDS):
            assert b"too late" not in await response.content.read()


@pytest.mark.parametrize(("characters", "beside"), [(100, [False]), (150_000, [True]), (170_000, [])])
async def test_a_large_form_of_nobody_is_decoded_beside_other_requests_or_not_at_all(
    client: Client, monkeypatch: pytest.MonkeyPatch, characters: int, beside: list[bool]
) -> None:
    """Anybody may post to the sign-in, and 5 MB take a second to decode: in a thread, and without a session 500 kB."""
    threads, decode = [], access._decoded

    def decoded(raw: bytes) -> dict[str, str]:
        threads.append(threading.current_thread())
        return decode(raw)

    monkeypatch.setattr(access, "_decoded", decoded)
    form, kind = b"email=" + b"%41" * characters, {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.holding("").post("/editor/sign-in", data=form, headers=kind)).status == 403
    assert [each is not threading.current_thread() for each in threads] == beside
