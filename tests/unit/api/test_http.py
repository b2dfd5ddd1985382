"""The API over HTTP, on a real ledger: contract of each resource."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import structlog
import yarl
from sqlalchemy import func, select
from starlette.requests import ClientDisconnect

from gateway.api import notifications as notification_routes
from gateway.api import receipts
from gateway.api.http import disconnects
from gateway.app.app import Gateway
from gateway.core.errors import InvalidData, Unavailable
from gateway.observability import logs
from gateway.observability.readiness import Probe
from gateway.pipeline import Pipeline
from gateway.receiving import CallbackReceiver
from gateway.storage.tables.borrowers import inbox
from gateway.storage.tables.path import notifications
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW
from tests.support.waiting import LIMIT_SECONDS, eventually

EVERYTHING = ("send", "read", "manage")


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A case system's client, of the tenant acme."""
    _, key = await gateway.ledger.keys.create("acme", "test", EVERYTHING, NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


async def stored(gateway: Gateway) -> int:
    query = select(func.count()).select_from(notifications)
    return await gateway.ledger.database.read(lambda connection: int(connection.execute(query).scalar_one()))


# ── accept ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_accept_and_show(client: Client) -> None:
    """202 with a link, and behind the link the notification with its delivery, verdict and events."""
    accepted = await client.post("/v1/notifications", request())
    assert (accepted.status, accepted.json["state"]) == (202, "accepted")
    assert set(accepted.json) == {"id", "state", "reason", "defer_until", "duplicate_of", "paused", "links"}
    shown = (await client.get(accepted.json["links"]["self"])).json
    assert shown["case"] == {"id": "C-1", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"}
    assert [(each["channel"], each["state"], each["attempts"]) for each in shown["deliveries"]] == [
        ("sms", "accepted", [])
    ]
    assert [(event["kind"], event["reason"]) for event in shown["events"]] == [("accepted", "permitted")]
    assert shown["events"][0]["local_at"].endswith("+08:00")
    assert (shown["verdict"]["verdict"], shown["verdict"]["time_zones"]) == ("send", ["Asia/Taipei"])


async def test_what_its_client_gave_up_is_not_done(
    client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one request is being stored another one waits, and its client hangs up: it is not stored later on, for
    that client asks again, and a process that is behind would do everything twice."""
    began, go_on, accept = asyncio.Event(), asyncio.Event(), gateway.path.store.accept

    async def slowly(*arguments: Any) -> Any:
        began.set()
        await go_on.wait()
        return await accept(*arguments)

    watching, gone = [], asyncio.Event()

    @contextmanager
    def watched(request: Any) -> Iterator[None]:
        watching.append(request)
        try:
            with disconnects.cancel_on_disconnect(request):
                yield
        except ClientDisconnect:
            gone.set()
            raise

    monkeypatch.setattr(disconnects, "_WATCH_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(notification_routes, "cancel_on_disconnect", watched)
    monkeypatch.setattr(gateway.path.store, "accept", slowly)
    first = asyncio.create_task(client.post("/v1/notifications", request()))
    await began.wait()
    second = asyncio.create_task(client.post("/v1/notifications", request(2)))
    await eventually(lambda: len(watching) == 2)
    second.cancel()
    await gone.wait()
    go_on.set()
    assert (await first).status == 202
    third = await client.post("/v1/notifications", request(3))
    assert (third.status, await stored(gateway)) == (202, 2)


async def test_a_key_is_looked_up_once_for_all_who_come_by_it(
    client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty requests at once, none of them known yet: one question to the ledger, and thirty answers."""
    asked, find = [], gateway.ledger.keys.find

    async def counted(key_id: str) -> Any:
        asked.append(key_id)
        return await find(key_id)

    monkeypatch.setattr(gateway.ledger.keys, "find", counted)
    answers = await asyncio.gather(*(client.get("/v1/notifications") for _ in range(30)))
    assert ({each.status for each in answers}, len(asked)) == ({200}, 1)


async def test_the_same_key_answers_the_same(client: Client, gateway: Gateway) -> None:
    """Fifty at once with one key are one notification; another body under the key is refused."""
    headers = {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(*(client.post("/v1/notifications", request(), headers=headers) for _ in range(50)))
    assert len({answer.json["id"] for answer in answers}) == 1
    assert sorted(answer.status for answer in answers) == [200] * 49 + [202]
    assert sum(answer.headers.get("Idempotent-Replayed") == "true" for answer in answers) == 49
    live = gateway.templates.catalog.resolve("acme", "overdue-first", None, NOW).version
    other = await client.post("/v1/notifications", request(template_version=live), headers=headers)
    assert (other.status, other.problem) == (422, "idempotency_key_reused")
    assert await stored(gateway) == 1


async def test_what_was_taken_is_not_refused_when_it_comes_again_too_late(
    client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that never saw its 202 asks again after ``expires_at``: it learns the id, not that it is too late."""
    first, second, other = (request(number, expires_at="2026-11-24T11:00:00Z") for number in (1, 2, 3))
    keys = [{"Idempotency-Key": f"k-{number}"} for number in (1, 2, 3)]
    taken = await client.post("/v1/notifications", first, headers=keys[0])
    many = {"notifications": [{**second, "idempotency_key": "k-2"}, {**other, "idempotency_key": "k-3"}]}
    batched = await client.post("/v1/notifications/batch", {"notifications": many["notifications"][:1]})
    monkeypatch.setattr(gateway.path.pipeline, "_clock", lambda: NOW + timedelta(hours=2))
    again = await client.post("/v1/notifications", first, headers=keys[0])
    assert (again.status, again.json["id"]) == (200, taken.json["id"])
    results = (await client.post("/v1/notifications/batch", many)).json["results"]
    assert [each["status"] for each in results] == [200, 422]
    assert results[0]["id"] == batched.json["results"][0]["id"]
    changed = await client.post("/v1/notifications", {**first, "metadata": {"a": "b"}}, headers=keys[0])
    assert (changed.status, changed.pointers) == (422, ["/expires_at"])
    assert (await client.post("/v1/notifications", other, headers=keys[2])).status == 422
    assert await stored(gateway) == 2


async def test_a_bad_item_does_not_stop_the_batch(client: Client, gateway: Gateway) -> None:
    """Each item has its own result, in order, with pointers from the body's root."""
    items: list[Any] = [
        request(1, idempotency_key="a"),
        request(2, template="no-such"),
        7,
        request(3, variables={}),
        request(1, idempotency_key="a"),
        request(4, idempotency_key="a"),
        request(5, expires_at="2026-11-24T09:00:00Z"),
    ]
    answer = await client.post("/v1/notifications/batch", {"notifications": items})
    assert answer.status == 202
    results = answer.json["results"]
    assert [each["index"] for each in results] == list(range(7))
    assert [each["status"] for each in results] == [202, 422, 422, 422, 200, 422, 422]
    assert results[0]["id"] == results[4]["id"]
    assert [each["type"].split("/")[-1] for each in results if each["status"] == 422] == [
        *("unknown_template", "invalid_request", "invalid_variables", "idempotency_key_reused", "invalid_request"),
    ]
    assert results[1]["errors"][0]["pointer"] == "/notifications/1/template"
    assert results[2]["errors"][0]["pointer"] == "/notifications/2"
    assert results[3]["errors"][0]["pointer"] == "/notifications/3/variables/amount"
    assert (answer.json["accepted"], answer.json["replayed"], answer.json["rejected"]) == (1, 1, 5)
    assert await stored(gateway) == 1


async def test_a_batch_key_covers_its_items(client: Client, gateway: Gateway) -> None:
    """A batch sent again under its header key is replayed item by item."""
    body = {"notifications": [request(1), request(2)]}
    first = await client.post("/v1/notifications/batch", body, headers={"Idempotency-Key": "run-7"})
    again = await client.post("/v1/notifications/batch", body, headers={"Idempotency-Key": "run-7"})
    assert (first.json["accepted"], again.json["replayed"]) == (2, 2)
    assert [each["id"] for each in first.json["results"]] == [each["id"] for each in again.json["results"]]
    assert await stored(gateway) == 2


async def test_an_item_is_the_same_request_alone(client: Client) -> None:
    """A notification from a batch, repeated by itself with its key in the header, is replayed."""
    body = {"notifications": [request(1, idempotency_key="k")]}
    [first] = (await client.post("/v1/notifications/batch", body)).json["results"]
    alone = await client.post("/v1/notifications", request(1), headers={"Idempotency-Key": "k"})
    assert (alone.status, alone.json["id"]) == (200, first["id"])


# ── who may ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_scopes_and_tenants(client: Client, gateway: Gateway) -> None:
    """A key does what its scopes say, and sees its own tenant only; admin may do all."""
    made = (await client.post("/v1/notifications", request())).json["links"]
    _, reading = await gateway.ledger.keys.create("acme", "reader", ["read"], NOW)
    _, other = await gateway.ledger.keys.create("rival", "other", EVERYTHING, NOW)
    _, admin = await gateway.ledger.keys.create("acme", "admin", ["admin"], NOW)
    refusal = await client.holding(reading).post("/v1/notifications", request())
    assert (refusal.status, refusal.problem) == (403, "forbidden")
    assert "send" in refusal.json["detail"]
    assert (await client.holding(other).get(made["self"])).problem == "not_found"
    assert (await client.holding(other).post(made["cancel"])).problem == "not_found"
    assert (await client.holding(other).get("/v1/notifications")).json["notifications"] == []
    assert (await client.holding(other).get("/v1/borrowers/B-1")).problem == "not_found"
    assert (await client.holding(admin).post(made["cancel"])).status == 200


@pytest.mark.parametrize("token", ["", "x", "ndg_000000000000_" + "0" * 64, "ndg_é_é", "bt_abc.def"])
async def test_without_a_key(client: Client, token: str) -> None:
    """401 with the scheme to use; nothing about which part was wrong."""
    answer = await client.holding(token).get("/v1/notifications?limit=0")
    assert (answer.status, answer.problem) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_key_is_stored_as_a_digest_and_can_be_revoked(gateway: Gateway) -> None:
    """The table opens nothing; a revoked key is not replaced by guessing, and is told apart."""
    key_id, key = await gateway.ledger.keys.create("acme", "ci", ["send", "send"], NOW)
    secret = key.rpartition("_")[2]
    found = await gateway.ledger.keys.find(key_id)
    assert found is not None
    assert secret not in repr(found)
    assert gateway.ledger.keys.matches(found, secret)
    assert not gateway.ledger.keys.matches(found, "0" * 64)
    assert [each.scopes for each in await gateway.ledger.keys.list("acme")] == [frozenset({"send"})]
    assert await gateway.ledger.keys.list("rival") == []
    assert [await gateway.ledger.keys.revoke(key_id, NOW) for _ in range(2)] == [True, False]
    with pytest.raises(ValueError, match="no-such"):
        await gateway.ledger.keys.create("acme", "ci", ["no-such"], NOW)


async def test_keys_cost_no_sql_per_request(client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up and real keys are looked up once in a while; a health check costs nothing at all."""
    monkeypatch.setattr("gateway.api.http.authentication._CACHE_SECONDS", 3600.0)
    token = "ndg_" + "0" * 12 + "_" + "0" * 64
    await client.holding(token).get("/v1/notifications")
    before = gateway.ledger.database.statements
    for _ in range(5):
        assert (await client.holding(token).get("/v1/notifications")).status == 401
        assert (await client.get("/healthz")).status == 200
    assert gateway.ledger.database.statements == before


# ── lists, people ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_list_is_walked_by_its_links(client: Client) -> None:
    """Pages are newest first, complete, without overlap, and end without a link; filters stay in the link."""
    body = {"notifications": [request(number, template="overdue-first") for number in range(5)]}
    made = [each["id"] for each in (await client.post("/v1/notifications/batch", body)).json["results"]]
    path, seen = "/v1/notifications?limit=2&template=overdue-first&from=2026-11-24T00:00:00%2B00:00", []
    while path:
        page = await client.get(path)
        assert page.status == 200, page.raw
        seen += [each["id"] for each in page.json["notifications"]]
        link = page.headers.get("Link", "")
        assert ("template=overdue-first" in link) == bool(link)
        path = link.partition("<")[2].partition(">")[0]
    assert seen == sorted(made, reverse=True)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("borrower_id=B-1", 1),
        ("case_id=C-2", 1),
        ("state=accepted", 3),
        ("state=sent", 0),
        ("template=other", 0),
        ("to=2026-11-24T10:00:00Z", 0),
        ("from=2026-11-24T10:00:00Z", 3),
        ("borrower_id=%00", 0),
    ],
)
async def test_list_filters(client: Client, query: str, count: int) -> None:
    """Each filter narrows the list."""
    await client.post("/v1/notifications/batch", {"notifications": [request(number) for number in range(3)]})
    assert len((await client.get(f"/v1/notifications?{query}")).json["notifications"]) == count


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/notifications?limit=201", "/query/limit"),
        ("/v1/notifications?state=asleep", "/query/state"),
        ("/v1/notifications?from=yesterday", "/query/from"),
        ("/v1/notifications?to=0001-01-01T00:00:00Z", "/query/to"),
        ("/v1/notifications?cursor=AAAA", "/query/cursor"),
        ("/v1/notifications?cursor=%C3%A9", "/query/cursor"),
        ("/v1/borrowers/B-1/timeline?cursor=bnRm", "/query/cursor"),
        ("/v1/borrowers/%00", "/path/borrower_id"),
    ],
)
async def test_a_wrong_parameter_is_pointed_at(client: Client, path: str, expected: str) -> None:
    """422, as if the request were one document."""
    answer = await client.get(path)
    assert (answer.status, answer.problem, answer.pointers) == (422, "invalid_request", [expected])


async def test_holds_opt_outs_and_the_timeline(client: Client) -> None:
    """What is said of a borrower is in force at once, shown on their record, and in the timeline in order."""
    await client.post("/v1/notifications", request())
    hold = {"end": "2026-12-24T00:00:00Z", "reason": "letter of 23 November"}
    assert (await client.call("PUT", "/v1/borrowers/B-1/holds/dispute", hold)).json[
        "start"
    ] == "2026-11-24T10:00:00.000Z"
    opt_out = {"channel": "sms", "address": "+886 912 345 678", "source": "letter"}
    made = await client.post("/v1/borrowers/B-1/opt-outs", opt_out)
    assert made.status == 201
    record = (await client.get("/v1/borrowers/B-1")).json
    assert [each["kind"] for each in record["holds"]] == ["dispute"]
    assert [(each["id"], each["channel"], each["source"]) for each in record["opt_outs"]] == [
        (made.json["id"], "sms", "letter")
    ]
    assert not re.search(r"912\D?345\D?678", json.dumps(record))
    assert (await client.call("DELETE", "/v1/borrowers/B-1/holds/dispute")).status == 204
    assert (await client.call("DELETE", "/v1/borrowers/B-1/holds/dispute")).problem == "not_found"
    assert (await client.call("DELETE", f"/v1/borrowers/B-1/opt-outs/{made.json['id']}")).status == 204
    first = (await client.get("/v1/borrowers/B-1/timeline?limit=4")).json
    second = (await client.get(f"/v1/borrowers/B-1/timeline?cursor={first['next_cursor']}")).json
    assert [event["kind"] for event in first["events"] + second["events"]] == [
        *("accepted", "hold_set", "opted_out", "hold_lifted", "opt_out_lifted"),
    ]
    assert first["events"][0]["channel"] == "sms"
    assert (await client.get("/v1/borrowers/B-9")).problem == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "body", "pointers"),
    [
        ("PUT", "/v1/borrowers/B-1/holds/bad-mood", {}, ["/path/kind"]),
        ("PUT", "/v1/borrowers/B-1/holds/dispute", {"end": "2026-11-24T10:00:00Z"}, ["/end"]),
        ("PUT", "/v1/borrowers/B-1/holds/dispute", {"until": None}, ["/until"]),
        ("POST", "/v1/borrowers/B-1/opt-outs", {"channel": "sms", "address": "12", "source": "x"}, ["/address"]),
        ("POST", "/v1/borrowers/B-1/opt-outs", {"address": "+886912345678", "source": "x"}, ["/channel"]),
        ("POST", "/v1/borrowers/B-1/opt-outs", {"channel": "pigeon", "source": "x"}, ["/channel"]),
        ("POST", "/v1/borrowers/B-1/opt-outs", {}, ["/source"]),
        ("POST", "/v1/cases/C-1/close", {"reason": "Paid in full"}, ["/reason"]),
    ],
)
async def test_what_is_said_of_people_is_checked(
    client: Client, method: str, path: str, body: Any, pointers: list[str]
) -> None:
    """A wrong field is pointed at, and nothing is remembered."""
    answer = await client.call(method, path, body)
    assert (answer.status, answer.problem, answer.pointers) == (422, "invalid_request", pointers)
    assert (await client.get("/v1/borrowers/B-1")).status == 404


async def test_closing_a_case_cancels_what_is_pending(client: Client) -> None:
    """A payment stops the reminder, and a second cancellation is not an error."""
    links = (await client.post("/v1/notifications", request())).json["links"]
    closed = await client.post("/v1/cases/C-1/close", {"reason": "paid"})
    assert closed.json == {"id": "C-1", "reason": "paid", "cancelled": 1}
    shown = (await client.get(links["self"])).json
    assert (shown["state"], shown["reason"]) == ("cancelled", "case_closed")
    assert shown["events"][-1]["actor"].startswith("key:")


async def test_too_late_to_cancel(client: Client, gateway: Gateway) -> None:
    """409 once there is nothing left to stop."""
    made = (await client.post("/v1/notifications", request(route=["inapp"]))).json
    [delivery] = (await client.get(made["links"]["self"])).json["deliveries"]
    await gateway.path.pipeline.dispatch([delivery["id"]])
    answer = await client.post(made["links"]["cancel"])
    assert (answer.status, answer.problem) == (409, "too_late")
    counted = await gateway.ledger.reads.summary("acme")
    assert counted["states"] == {"delivered": 1}
    assert (counted["deliveries"], counted["sent"]) == ({"inapp": {"delivered": 1}}, {"inapp": 1})


async def test_a_decision_stores_nothing(client: Client, gateway: Gateway) -> None:
    """The verdict and its rules, for a request that is then forgotten; bad facts are pointed at."""
    contact = {"at": "2026-11-16T09:00:00Z", "channel": "sms", "case_id": "C-1", "address": "+886912345678"}
    answer = await client.post("/v1/decisions", request(at="2026-11-24T03:00:00Z", contacts=[contact], holds=[]))
    assert (answer.status, answer.json["verdict"]) == (200, "send")
    assert set(answer.json) == {"verdict", "reason", "until", "rules", "time_zones", "tzdata", "packs"}
    wrong = await client.post("/v1/decisions", request(contacts=[contact, {**contact, "address": "12"}]))
    assert wrong.pointers == ["/contacts/1/address"]
    nowhere = await client.post("/v1/decisions", request(packs=["tw", "atlantis"]))
    assert (nowhere.status, nowhere.pointers) == (422, ["/packs/1"])
    assert await stored(gateway) == 0


# ── receipts ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_callbacks_from_strangers(client: Client, gateway: Gateway) -> None:
    """An unknown provider is not found, a wrong signature is refused and counted."""
    stranger = client.holding("")
    assert (await stranger.post("/v1/receipts/no-such", data={"a": "b"})).problem == "not_found"
    answer = await stranger.post("/v1/receipts/twilio?ref=x", data={"MessageSid": "SM1"})
    assert (answer.status, answer.problem) == (403, "bad_signature")
    assert b'reason="bad_signature"} 1.0' in gateway.path.metrics.render()[0]


async def test_a_signed_callback_is_taken_and_trouble_is_ours(
    client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """204 for an orphan, signed over the public address; 503 with Retry-After while the ledger is away."""
    from twilio.request_validator import RequestValidator

    fields = {"MessageSid": "SM" + "0" * 32, "MessageStatus": "delivered", "AccountSid": "AC" + "0" * 32}
    path = f"/v1/receipts/twilio?ref={quote(gateway.ledger.signer.reference('dlv_' + '0' * 32, 1))}&x=%2F"
    url = gateway.ledger.settings.effective_public_url + path
    headers = {"X-Twilio-Signature": RequestValidator("ab" * 16).compute_signature(url, fields)}

    async def call() -> Any:
        target = yarl.URL(client.url + path, encoded=True)
        async with client.session.post(target, data=fields, headers=headers) as response:
            return response.status, response.headers

    assert (await call())[0] == 204

    async def away(*_arguments: Any) -> Any:
        raise Unavailable("ledger: OperationalError")

    monkeypatch.setattr(CallbackReceiver, "receive", away)
    status, answered = await call()
    assert (status, answered["Retry-After"]) == (503, "5")

    async def unstorable(*_arguments: Any) -> Any:
        raise InvalidData("ledger: DataError")

    monkeypatch.setattr(CallbackReceiver, "receive", unstorable)
    status, answered = await call()
    assert (status, answered["Content-Type"]) == (422, "application/problem+json")


# ── inbox ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def borrower(client: Client, gateway: Gateway) -> Client:
    """The app of borrower B-1."""
    return client.holding(gateway.ledger.signer.borrower_token("acme", "B-1", NOW + timedelta(hours=1)))


async def test_the_feed(borrower: Client, client: Client, gateway: Gateway) -> None:
    """Newest first with a count; read and archived by the borrower only; read reaches the delivery."""
    for number in range(3):
        made = (
            await client.post(
                "/v1/notifications", request(1, case={**request()["case"], "id": f"C-{number}"}, route=["inapp"])
            )
        ).json
        [delivery] = (await client.get(made["links"]["self"])).json["deliveries"]
        await gateway.path.pipeline.dispatch([delivery["id"]])
    page = await borrower.get("/v1/inbox?limit=2")
    assert (len(page.json["items"]), page.json["unread_count"], page.headers["Cache-Control"]) == (2, 3, "no-store")
    older = await borrower.get(page.headers["Link"].partition("<")[2].partition(">")[0])
    newest, oldest = page.json["items"][0], older.json["items"][0]
    assert newest["id"] > oldest["id"]
    assert newest["title"] == "帳戶通知"
    assert "3,913" in newest["text"]
    assert (await borrower.post(f"/v1/inbox/{newest['id']}/read")).json == {"unread_count": 2}
    assert (await borrower.post(f"/v1/inbox/{oldest['id']}/archive")).json == {"unread_count": 1}
    assert [each["id"] for each in (await borrower.get("/v1/inbox?archived=true")).json["items"]] == [oldest["id"]]
    shown = (await client.get(made["links"]["self"])).json
    assert shown["deliveries"][0]["read_at"]
    assert (await borrower.post("/v1/inbox/read-all")).json == {"read": 1, "unread_count": 0}

    other = borrower.holding(gateway.ledger.signer.borrower_token("acme", "B-2", NOW + timedelta(hours=1)))
    assert (await other.get("/v1/inbox")).json["items"] == []
    assert (await other.post(f"/v1/inbox/{newest['id']}/read")).problem == "not_found"
    assert (await other.post(f"/v1/inbox/{newest['id']}/archive")).problem == "not_found"
    late = borrower.holding(gateway.ledger.signer.borrower_token("acme", "B-1", NOW))
    assert (await late.get("/v1/inbox")).problem == "unauthorized"
    assert (await client.get("/v1/inbox")).problem == "unauthorized"


async def test_a_borrower_replies_in_the_app(borrower: Client, client: Client, gateway: Gateway) -> None:
    """What is said holds when it answers, which names whom to call; a flood and others' messages are refused."""
    made = (await client.post("/v1/notifications", request(1, route=["inapp"]))).json
    [delivery] = (await client.get(made["links"]["self"])).json["deliveries"]
    await gateway.path.pipeline.dispatch([delivery["id"]])
    [item] = (await borrower.get("/v1/inbox")).json["items"]
    path = f"/v1/inbox/{item['id']}/reply"
    said = await borrower.post(path, {"id": "a", "text": " 我不想活了 "})
    assert "1925" in said.json["answer"]
    known = await gateway.ledger.reads.borrower("acme", "B-1")
    assert known is not None
    assert [each["kind"] for each in known["holds"]] == ["vulnerable"]
    assert (await borrower.post(path, {"id": "a", "text": "我不想活了"})).json == {"answer": ""}  # recorded already
    other = borrower.holding(gateway.ledger.signer.borrower_token("acme", "B-2", NOW + timedelta(hours=1)))
    assert (await other.post(path, {"id": "a", "text": "hello"})).problem == "not_found"
    for bad in ({"id": "b"}, {"id": "b", "text": " "}, {"id": "b", "text": "x" * 1001}, {"id": "", "text": "x"}):
        assert (await borrower.post(path, bad)).problem == "invalid_request"
    for number in range(9):
        assert (await borrower.post(path, {"id": f"c{number}", "text": "hello"})).status == 200
    assert (await borrower.post(path, {"id": "d", "text": "hello"})).problem == "too_many_replies"


async def test_puts_share_a_commit_and_happen_once(gateway: Gateway) -> None:
    """Many at once take few transactions; a delivery that comes twice is one message."""
    before = gateway.ledger.database.statements
    ids = [f"dlv_{number % 50:032x}" for number in range(100)]
    created = await asyncio.gather(*(gateway.providers.inbox.put("acme", "B-1", each, "t", "x") for each in ids))
    assert sum(created) == 50
    assert gateway.ledger.database.statements - before <= 6
    query = select(func.count()).select_from(inbox)
    assert await gateway.ledger.database.read(lambda connection: connection.execute(query).scalar_one()) == 50


async def events_of(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """The next ``count`` events of a stream."""
    found: list[dict[str, Any]] = []
    current: dict[str, Any] = {}
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(found) < count:
            line = (await response.content.readline()).decode().rstrip("\n")
            if not line and "data" in current:
                found.append({**current, "data": json.loads(current["data"])})
                current = {}
            elif line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                current[name] = value
    return found


async def test_the_stream_brings_news_and_resumes(borrower: Client, gateway: Gateway) -> None:
    """A new message arrives at once with the count; after a break the stream goes on behind the last id seen."""
    headers = {"Authorization": f"Bearer {borrower.token}"}
    await gateway.providers.inbox.put("acme", "B-1", "dlv_0", "before", "x")
    async with borrower.session.get(borrower.url + "/v1/inbox/stream", headers=headers) as response:
        assert response.content_type == "text/event-stream"
        [first] = await events_of(response, 1)
        assert (first["event"], first["data"]) == ("unread", {"unread_count": 1})
        await gateway.providers.inbox.put("acme", "B-2", "dlv_1", "for somebody else", "x")
        await gateway.providers.inbox.put("acme", "B-1", "dlv_2", "first", "line\nline")
        [news] = await events_of(response, 1)
        assert (news["event"], news["data"]["message"]["title"], news["data"]["unread_count"]) == (
            "message",
            "first",
            2,
        )
        await borrower.post(f"/v1/inbox/{news['id']}/read")
        [counted] = await events_of(response, 1)
        assert (counted["event"], counted["data"]) == ("unread", {"unread_count": 1})
    for number in (3, 4):
        await gateway.providers.inbox.put("acme", "B-1", f"dlv_{number}", str(number), "x")
    headers["Last-Event-ID"] = news["id"]
    async with borrower.session.get(borrower.url + "/v1/inbox/stream", headers=headers) as response:
        missed = await events_of(response, 2)
    assert [event["data"]["message"]["title"] for event in missed] == ["3", "4"]
    assert (await borrower.get("/v1/inbox/stream", headers={"Last-Event-ID": "x"})).pointers == [
        "/header/last-event-id"
    ]
    assert (await borrower.holding("bt_x.y").get("/v1/inbox/stream")).status == 401


# ── around it ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_health_and_readiness(client: Client) -> None:
    """Alive without asking anybody, ready with names; the figures are not on the API's port."""
    nobody = client.holding("")
    assert (await nobody.get("/healthz")).json == {"status": "ok"}
    ready = await nobody.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ready")
    assert set(ready.json["checks"]) == {"ledger", "migrations", "redis", "templates"}
    assert (await nobody.get("/metrics")).status == 404


@pytest.mark.parametrize(
    ("name", "status", "word"),
    [("redis", 200, "degraded"), ("ledger", 503, "not_ready"), ("migrations", 503, "not_ready")]
    + [("templates", 503, "not_ready")],
)
async def test_readiness_names_what_is_missing(gateway: Gateway, name: str, status: int, word: str) -> None:
    """Without Redis requests are still accepted; without the ledger, its migrations or templates they are not."""

    async def missing() -> str:
        return "is away"

    changed = replace(gateway, readiness=Probe({name: missing}))
    async with serving(app_of(changed)) as url, aiohttp.ClientSession() as session:
        answer = await Client(session, url, "").get("/readyz")
    assert (answer.status, answer.json["status"], answer.json["checks"][name]) == (status, word, "is away")


async def test_request_ids(client: Client) -> None:
    """A safe one is kept, an unsafe one replaced."""
    kept = await client.get("/v1/nothing", headers={"X-Request-ID": "abc-1"})
    assert (kept.problem, kept.json["request_id"]) == ("not_found", "abc-1")
    replaced = await client.get("/v1/nothing", headers={"X-Request-ID": "a b"})
    assert replaced.headers["X-Request-ID"] != "a b"


async def test_the_wrong_method(client: Client) -> None:
    """405 names the methods that there are."""
    answer = await client.call("DELETE", "/v1/decisions")
    assert (answer.status, answer.problem, answer.headers["Allow"]) == (405, "method_not_allowed", "POST")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, in the form that a running gateway has."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level
    logs.configure(stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, logging.raiseExceptions = handlers, True
    root.setLevel(level)
    logging.captureWarnings(False)


async def test_our_own_failure_says_nothing(client: Client, monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    """500 with a request id and no internals; a ledger that is away is 503, and nothing was acknowledged."""

    async def broken(*_arguments: Any) -> Any:
        raise RuntimeError("+886912345678")

    async def away(*_arguments: Any) -> Any:
        raise Unavailable("ledger: OperationalError")

    monkeypatch.setattr(Pipeline, "accept", broken)
    answer = await client.post("/v1/notifications", request())
    assert (answer.status, answer.problem) == (500, "internal")
    [line, _answered] = log.getvalue().splitlines()
    assert json.loads(line)["request_id"] == answer.json["request_id"]
    assert json.loads(line)["route"] == "/v1/notifications"
    assert "886912345678" not in answer.raw.decode() + line
    monkeypatch.setattr(Pipeline, "accept", away)
    answer = await client.post("/v1/notifications/batch", {"notifications": [request()]})
    assert (answer.status, answer.problem, answer.headers["Retry-After"]) == (503, "unavailable", "5")


async def test_the_short_way_to_a_route_is_documented(client: Client) -> None:
    """What is answered past the framework's router is declared there as well, with the same pattern."""
    paths = (await client.get("/openapi.json")).json["paths"]
    for route in (*notification_routes.FAST, *receipts.FAST):
        assert "post" in paths[route.path]
    assert (await client.post("/v1/receipts/", {})).status == 404
    assert (await client.post("/v1/receipts/a/b", {})).status == 404


async def test_openapi_is_complete(client: Client) -> None:
    """Every reference resolves, bodies and keys are declared, and there is a page to read it on."""
    document = (await client.get("/openapi.json")).json
    text = json.dumps(document)
    for name in {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert name in document["components"]["schemas"], name
    post = document["paths"]["/v1/notifications"]["post"]
    assert post["security"] == [{"apiKey": []}]
    assert "422" in post["responses"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("NotificationIn")
    assert [each["name"] for each in post["parameters"]] == ["Idempotency-Key"]
    assert document["paths"]["/v1/receipts/{provider}"]["post"].get("security") is None
    assert (await client.get("/docs")).status == 200


# What an operation id begins with: the verb of what is done.
_VERB_AND_NOUN = re.compile(
    "(accept|add|answer|approve|archive|begin|cancel|claim|close|comment|compare|confirm|create|decide|delete|discard|enable|end|enter"
    "|explain|export|get|give|hand_back|import|lift|lint|list|migrate|preview|publish|read|receive|redrive|refuse|reject"
    "|release|replay|report|roll_back|rotate|save|set|show|stop|stream|submit|test|undo|unschedule|verify|withdraw)_[a-z_]+"
)


async def test_operations_are_described_by_one_convention(client: Client) -> None:
    """Ids are a verb and a noun, each once; every operation has a tag that is described, a summary and its answers."""
    document = (await client.get("/openapi.json")).json
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if not _VERB_AND_NOUN.fullmatch(each)] == []
    described = {each["name"] for each in document["tags"]}
    for each in operations:
        assert described.issuperset(each["tags"])
        assert each["tags"]
        for status, response in each["responses"].items():
            if status.startswith("2") and status != "204":
                schemas = [content.get("schema") for content in response["content"].values()]
                assert schemas, (each["operationId"], status)
                if "application/json" in response["content"]:
                    assert schemas[0] != {}, (each["operationId"], status)


async def test_problems_and_header_fields_follow_from_the_operation(client: Client) -> None:
    """A key: 401, 403, 429 with the quota's fields; a body: 400, 413, 415, 422; a page: Link."""
    document = (await client.get("/openapi.json")).json
    paths, problems = document["paths"], document["components"]["responses"]
    listed = paths["/v1/suppressions"]["get"]["responses"]
    assert set(listed) == {"200", "401", "403", "422", "429", "500", "503"}
    assert {"Link", "RateLimit", "X-Request-ID"} <= listed["200"]["headers"].keys()
    taken = paths["/v1/notifications"]["post"]["responses"]
    assert {"400", "413", "415", "422"} <= taken.keys()
    assert "Location" in taken["202"]["headers"]
    assert "Idempotent-Replayed" in taken["200"]["headers"]
    assert "Retry-After" in problems["TooManyRequests"]["headers"]
    assert "application/problem+json" in problems["NotFound"]["content"]
    inbox = paths["/v1/inbox/stream"]["get"]
    assert inbox["security"] == [{"borrowerToken": []}]
    assert "text/event-stream" in inbox["responses"]["200"]["content"]


async def test_allow_names_every_method(client: Client) -> None:
    """405 says what the address does take, over all its routes (RFC 9110 section 15.5.6)."""
    for path, methods in (
        ("/v1/suppressions", "GET, POST"),
        ("/v1/borrowers/B-1/holds/dispute", "DELETE, PUT"),
        ("/v1/notifications", "GET, POST"),
        ("/v1/notifications/batch", "POST"),
    ):
        answer = await client.call("PATCH", path)
        assert (answer.problem, answer.headers["Allow"]) == ("method_not_allowed", methods)


async def test_pages_run_their_own_script_only(client: Client) -> None:
    """The feed's page and the list of problem types are complete documents under a strict policy."""
    page = await client.holding("").get("/inbox")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert b" style=" not in page.raw
    assert b" onclick=" not in page.raw
    listed = await client.get("/problems/too_late")
    assert b'id="too_late"' in listed.raw
