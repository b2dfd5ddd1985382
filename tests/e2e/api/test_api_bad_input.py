"""Invalid requests to a whole gateway: each has its status, problem type and pointer, and stores nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.api_gateway import Client, request
from tests.support.app_client import AppClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE, MANY = "/v1/notifications", "/v1/notifications/batch"


def with_borrower(**changes: Any) -> dict[str, Any]:
    body = request()
    return {**body, "borrower": {**body["borrower"], **changes}}


def with_addresses(**changes: Any) -> dict[str, Any]:
    return with_borrower(addresses={**request()["borrower"]["addresses"], **changes})


def without_variable(name: str) -> dict[str, Any]:
    return request(variables={key: value for key, value in request()["variables"].items() if key != name})


UK_LANDLINE = "+442079460018"  # Ofcom reserves 020 7946 0xxx for drama
BAD_VALUES = [
    # what,                body,                                          problem type,        pointer
    ("not an object", [], "invalid_request", ""),
    ("nothing in it", {}, "invalid_request", "/borrower"),
    ("a misspelt field", request(expire_at=None), "invalid_request", "/expire_at"),
    ("a number for a name", with_borrower(name=7), "invalid_request", "/borrower/name"),
    ("a text for a list", request(route="sms"), "invalid_request", "/route"),
    ("an unknown template", request(template="no-such"), "unknown_template", "/template"),
    ("an unknown version", request(template_version="v999"), "unknown_template", "/template"),
    ("a missing variable", without_variable("amount"), "invalid_variables", "/variables/amount"),
    ("a landline", with_addresses(sms=UK_LANDLINE), "invalid_request", "/borrower/addresses/sms"),
    ("no phone number", with_addresses(sms="call me"), "invalid_request", "/borrower/addresses/sms"),
    ("no e-mail address", with_addresses(email="a@b@c"), "invalid_request", "/borrower/addresses/email"),
    (
        "an address missing",
        with_borrower(addresses={"sms": "+886912345678"}),
        "invalid_request",
        "/borrower/addresses/inapp",
    ),
    ("an unknown channel", request(route=["pigeon"]), "invalid_request", "/borrower/addresses/pigeon"),
    ("an unknown zone", with_borrower(time_zones=["Asia/Taipeh"]), "invalid_request", "/borrower/time_zones/0"),
    ("a local time", request(send_at="2026-11-25T09:00:00"), "invalid_request", "/send_at"),
    ("expired", request(expires_at="2026-11-24T01:59:59Z"), "invalid_request", "/expires_at"),
    (
        "sent after it expires",
        request(send_at="2026-11-26T00:00:00Z", expires_at="2026-11-25T00:00:00Z"),
        "invalid_request",
        "/send_at",
    ),
    ("a wait without a unit", request(route=[{"channel": "sms", "wait": 30}]), "invalid_request", "/route/0/wait"),
    ("another category", request(category="promotional"), "invalid_request", "/category"),
]


@pytest.mark.parametrize(
    ("body", "kind", "pointer"), [row[1:] for row in BAD_VALUES], ids=[row[0] for row in BAD_VALUES]
)
async def test_a_bad_value(shared_app_client: AppClient, body: Any, kind: str, pointer: str) -> None:
    """422 with the type, pointing at the field, alone and in a batch alike; nothing is stored."""
    answer = await shared_app_client.post(ONE, body)
    assert (answer.status, answer.problem) == (422, kind)
    assert pointer in answer.pointers
    [result] = (await shared_app_client.post(MANY, {"notifications": [body]})).json["results"]
    assert (result["status"], result["type"]) == (422, f"/problems/{kind}")
    assert f"/notifications/0{pointer}" in [each["pointer"] for each in result["errors"]]
    assert await shared_app_client.stored() == 0


async def test_all_errors_at_once(shared_app_client: AppClient) -> None:
    """A wrong shape, a wrong address, a missing variable: one answer lists them, alone and in a batch alike."""
    body = without_variable("amount")
    body["borrower"] |= {"time_zones": ["Asia/Taipeh"], "addresses": {"sms": UK_LANDLINE, "inapp": "B-1"}}
    body["case"] = {**body["case"], "due_date": "soon"}
    body["expire_at"] = None
    expected = {
        "/case/due_date",
        "/expire_at",
        "/borrower/addresses/sms",
        "/borrower/time_zones/0",
        "/variables/amount",
    }
    answer = await shared_app_client.post(ONE, body)
    assert (answer.problem, set(answer.pointers)) == ("invalid_request", expected)
    [result] = (await shared_app_client.post(MANY, {"notifications": [body]})).json["results"]
    assert {each["pointer"] for each in result["errors"]} == {f"/notifications/0{each}" for each in expected}
    assert await shared_app_client.stored() == 0


async def test_what_depends_on_a_wrong_member_is_not_judged(shared_app_client: AppClient) -> None:
    """Without a template nothing is said about variables; without a body's shape nothing about its content."""
    body = {**request(template=7, variables={})}
    assert (await shared_app_client.post(ONE, body)).pointers == ["/template"]
    unknown = await shared_app_client.post(ONE, request(template="no-such", expires_at="2020-01-01T00:00:00Z"))
    assert (unknown.problem, unknown.pointers) == ("unknown_template", ["/template", "/expires_at"])
    assert (await shared_app_client.post(ONE, [1])).pointers == [""]
    assert (await shared_app_client.post(ONE, request(route=7))).pointers == ["/route"]
    assert (await shared_app_client.post(ONE, {**request(), "borrower": 7})).pointers == ["/borrower"]


DID_YOU_MEAN = [
    ("a field", request(expire_at=None), "expires_at"),
    ("a field of the borrower", with_borrower(timezones=[]), "time_zones"),
    ("a field of a step", request(route=[{"chanel": "sms", "channel": "sms"}]), "channel"),
    ("a template", request(template="overdue-frist"), "overdue-first"),
    ("a channel", with_addresses(smss="+886912345678"), "sms"),
]


@pytest.mark.parametrize(("body", "meant"), [row[1:] for row in DID_YOU_MEAN], ids=[row[0] for row in DID_YOU_MEAN])
async def test_did_you_mean(shared_app_client: AppClient, body: Any, meant: str) -> None:
    """A misspelt name gets the one that is most like it; one that is like nothing, or endless, gets none."""
    answer = await shared_app_client.post(ONE, body)
    assert any(each["detail"].endswith(f'; did you mean "{meant}"?') for each in answer.json["errors"])
    for name in ("qqqqqq", "expires_at" * 500):
        strange = await shared_app_client.post(ONE, request(**{name: 1}))
        assert "did you mean" not in strange.json["errors"][0]["detail"]


BAD_BODIES = [
    ("malformed JSON", ONE, b'{"borrower": ', {}, 400, "malformed_json", []),
    ("no JSON at all", MANY, b"\xff\xfe", {}, 400, "malformed_json", []),
    ("not a number", ONE, b'{"variables": {"amount": NaN}}', {}, 400, "malformed_json", []),
    ("a form", ONE, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", []),
    ("10 MB", ONE, b" " * 10_000_000, {}, 413, "too_large", []),
    (
        "a key with blanks",
        ONE,
        json.dumps(request()).encode(),
        {"Idempotency-Key": "a b"},
        422,
        "invalid_request",
        ["/header/idempotency-key"],
    ),
    (
        "a key too long",
        ONE,
        json.dumps(request()).encode(),
        {"Idempotency-Key": "k" * 256},
        422,
        "invalid_request",
        ["/header/idempotency-key"],
    ),
    (
        "a batch of 1,001",
        MANY,
        json.dumps({"notifications": [1] * 1001}).encode(),
        {},
        422,
        "invalid_request",
        ["/notifications"],
    ),
    ("an empty batch", MANY, b'{"notifications": []}', {}, 422, "invalid_request", ["/notifications"]),
    ("a bare list", MANY, b"[]", {}, 422, "invalid_request", ["/notifications"]),
]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "kind", "pointers"),
    [row[1:] for row in BAD_BODIES],
    ids=[row[0] for row in BAD_BODIES],
)
async def test_a_bad_body(
    shared_app_client: AppClient,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    kind: str,
    pointers: list[str],
) -> None:
    """What can't be read is refused as a whole, and nothing is stored."""
    answer = await shared_app_client.post(path, data=body, headers={"Content-Type": "application/json", **headers})
    assert (answer.status, answer.problem, answer.pointers) == (status, kind, pointers)
    assert await shared_app_client.stored() == 0


async def test_a_body_without_a_length(shared_app_client: AppClient) -> None:
    """A body that declares no length is cut off at the limit."""

    async def endless() -> Any:
        for _ in range(160):
            yield b" " * 65_536

    answer = await shared_app_client.post(ONE, data=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status, answer.problem) == (413, "too_large")


async def test_an_unknown_key_and_a_wrong_scope(shared_app_client: AppClient) -> None:
    """401 and 403, before anything in the body is looked at."""
    gateway = shared_app_client.gateway
    _, reading = await gateway.ledger.keys.create("acme", "reader", ["read"], gateway.ledger.clock())
    key_id, revoked = await gateway.ledger.keys.create("acme", "gone", ["send"], gateway.ledger.clock())
    await gateway.ledger.keys.revoke(key_id, gateway.ledger.clock())
    for token, status, kind in (
        ("", 401, "unauthorized"),
        ("ndg_0123456789ab_" + "0" * 64, 401, "unauthorized"),
        (revoked, 401, "unauthorized"),
        (revoked[:-1] + "x", 401, "unauthorized"),
        (reading, 403, "forbidden"),
    ):
        caller: Client = shared_app_client.holding(token)
        for path in (ONE, MANY):
            answer = await caller.post(path, data=b"{", headers={"Content-Type": "application/json"})
            assert (answer.status, answer.problem) == (status, kind)
    assert await shared_app_client.stored() == 0


@pytest.mark.asyncio(loop_scope="function")  # the gateway is its own: something stays in it
async def test_another_body_under_one_key(app_client: AppClient) -> None:
    """422, and the first request stays as it was; fifty of the same at once are one."""
    headers = {"Idempotency-Key": "run-7/1"}
    answers = await asyncio.gather(*(app_client.post(ONE, request(), headers=headers) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [200] * 49 + [202]
    before = await app_client.stored()
    changed = await app_client.post(ONE, request(metadata={"changed": True}), headers=headers)
    assert (changed.status, changed.problem) == (422, "idempotency_key_reused")
    assert await app_client.stored() == before


async def test_no_answer_repeats_what_was_sent(shared_app_client: AppClient) -> None:
    """Neither the number, nor the name, nor the address comes back in a refusal."""
    body = with_borrower(
        name="Chen Mei" + "\x00", addresses={"sms": UK_LANDLINE, "email": "chen@mei@example.com", "inapp": "B-1"}
    )
    for sent in (
        body,
        with_addresses(sms=UK_LANDLINE, email="chen@mei@example.com"),
        request(variables={"amount": {"Chen Mei": 1}}),
    ):
        answer = await shared_app_client.post(ONE, sent)
        assert answer.status == 422
        for secret in (b"7946", b"Chen", b"chen@"):
            assert secret not in answer.raw
