"""The administrators' log: every use of an administrative right through the API leaves an entry before it is done."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from sqlalchemy import text

from gateway.app.app import Gateway
from gateway.cli.ledger import evidence
from gateway.core.errors import Unavailable
from gateway.identity.keys import Scope
from gateway.identity.sessions import Sessions
from gateway.observability import logs
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.operations import Operation, operations
from tests.support.storage.ledgers import NOW

IDS = {
    **dict.fromkeys(("notification_id", "item", "case_id", "opt_out_id", "control_id", "endpoint_id"), "none"),
    "borrower_id": "B-1",
    "kind": "dispute",
    "category": "promotional",
    "template": "overdue-first",
    "number": 1,
    "provider": "sim",
    "locale": "en-US",
    "journey_id": "none",
    "name": "short",
    "act": "end",
}
# What changes nothing, or only what the case system sends: no entry. All others have one, whatever is added later.
UNRECORDED = {
    "POST /v1/notifications",
    "POST /v1/notifications/batch",
    "POST /v1/notifications/{notification_id}/cancel",
    "POST /v1/decisions",
    "PUT /v1/cases/{case_id}",
    "POST /v1/cases/{case_id}/payments",
    "POST /v1/cases/{case_id}/promises",
    "POST /v1/cases/{case_id}/plans",
    "POST /v1/cases/batch",
    "POST /v1/templates/{template}/lint",
    "POST /v1/journey-definitions/lint",
    "POST /v1/templates/{template}/preview",
}
SHOWS_WORDS = {
    "GET /v1/reviews/{item}/original",
    "GET /v1/borrowers/{borrower_id}",
    "GET /v1/reviews",
    "GET /v1/conversations",
    "GET /v1/conversations/{item}",
    "GET /v1/notifications/{notification_id}/messages",
    "GET /v1/borrowers/{borrower_id}/evidence",
}


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A client of the tenant acme with every scope."""
    _, key = await gateway.ledger.keys.create("acme", "all", list(Scope), NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of this process, as JSON lines."""
    stream = io.StringIO()
    logs.configure("INFO", json=True, stream=stream)
    yield stream
    structlog.reset_defaults()


async def _entries(gateway: Gateway, tenant: str = "acme") -> list[dict[str, Any]]:
    return list(reversed(await gateway.ledger.admin_log.listed(tenant, 1000)))


def _is_recorded(operation: Operation) -> bool:
    return str(operation) in SHOWS_WORDS or (operation.method != "GET" and str(operation) not in UNRECORDED)


async def test_every_administrative_operation_leaves_one_entry(client: Client, gateway: Gateway) -> None:
    """With its method, route and ids; one that is refused afterwards has a second entry that says so."""
    await client.post("/v1/notifications", request())
    called = await operations(client)
    assert sum(map(_is_recorded, called)) >= 30
    for operation in called:
        before = len(await _entries(gateway))
        answer = await operation.call(client, IDS)
        new = (await _entries(gateway))[before:]
        begun = [each for each in new if each["outcome"] == "begun"]
        assert len(begun) == _is_recorded(operation), operation
        ended = [each["outcome"] for each in new if each["outcome"] != "begun"]
        assert ended == (["refused"] if answer.status >= 400 and begun else []), (operation, answer.raw)
        for each in begun:
            assert each["operation"] == str(operation)
            assert each["actor"].startswith("key:")
            assert each["request_id"] == answer.headers["X-Request-ID"]
            assert set(each["target"]) == {name for name in IDS if f"{{{name}}}" in operation.path}


async def test_a_key_without_the_right_leaves_an_entry(client: Client, gateway: Gateway) -> None:
    """What was tried, by which key; nothing is done."""
    identifier, key = await gateway.ledger.keys.create("acme", "reads", ["read"], NOW)
    refused = await client.holding(key).post("/v1/controls", {"scope": "all", "reason": "a test"})
    assert refused.status == 403
    [entry] = await _entries(gateway)
    assert (entry["outcome"], entry["reason"], entry["actor"]) == ("refused", "forbidden", f"key:{identifier}")
    assert entry["operation"] == "POST /v1/controls"


async def test_nothing_is_done_that_can_not_be_recorded(
    client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the entry can't be written, the answer is 503 and the act is not done."""

    async def away(act: Any) -> None:
        raise Unavailable("ledger: OperationalError")

    monkeypatch.setattr(gateway.ledger.admin_log, "record", away)
    assert (await client.post("/v1/controls", {"scope": "all", "reason": "a test"})).status == 503
    assert await gateway.path.controls.listed("acme", ended=True) == []


async def test_an_outage_during_an_act_is_recorded_as_failed(
    client: Client, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The act may be done or not: the second entry says that the gateway does not know."""

    async def away(*arguments: Any) -> None:
        raise Unavailable("ledger: OperationalError")

    monkeypatch.setattr(gateway.path.controls, "set", away)
    assert (await client.post("/v1/controls", {"scope": "all", "reason": "a test"})).status == 503
    assert [(each["outcome"], each["reason"]) for each in await _entries(gateway)] == [
        ("begun", ""),
        ("failed", "unavailable"),
    ]


async def test_the_log_is_read_by_administrators(client: Client, gateway: Gateway) -> None:
    """The latest first, by pages; a tenant's administrator sees that tenant's, the platform all."""
    for number in range(3):
        await client.call("PUT", f"/v1/borrowers/B-{number}/holds/dispute", {"reason": "a test"})
    keys = {
        name: client.holding((await gateway.ledger.keys.create(tenant, name, [scope], NOW))[1])
        for name, tenant, scope in (
            ("admin", "acme", "admin"),
            ("manage", "acme", "manage"),
            ("other", "other", "admin"),
            ("platform", "operations", "platform"),
        )
    }
    page = (await keys["admin"].get("/v1/admin-log?limit=2")).json
    assert [each["target"]["borrower_id"] for each in page["entries"]] == ["B-2", "B-1"]
    rest = (await keys["admin"].get(f"/v1/admin-log?limit=2&cursor={page['next_cursor']}")).json
    assert ([each["target"]["borrower_id"] for each in rest["entries"]], rest["next_cursor"]) == (["B-0"], None)
    assert (await keys["manage"].get("/v1/admin-log")).status == 403
    assert (await keys["other"].get("/v1/admin-log")).json["entries"] == []
    assert len((await keys["platform"].get("/v1/admin-log")).json["entries"]) == 3


async def test_a_log_line_says_who_did_what_without_ids_of_borrowers(
    client: Client, gateway: Gateway, log: io.StringIO
) -> None:
    """For a SIEM: tenant, actor, operation, outcome; the ids in the path stay in the ledger."""
    await client.call("PUT", "/v1/borrowers/B-personal/holds/dispute", {"reason": "of a person"})
    lines = [json.loads(each) for each in log.getvalue().splitlines()]
    [line] = [each for each in lines if each["event"] == "admin_act"]
    assert (line["tenant"], line["outcome"]) == ("acme", "begun")
    assert line["operation"] == "PUT /v1/borrowers/{borrower_id}/holds/{kind}"
    assert line["actor"].startswith("key:")
    assert "personal" not in log.getvalue()
    assert "of a person" not in log.getvalue()


async def test_a_person_on_the_pages_leaves_an_entry(client: Client, gateway: Gateway) -> None:
    """Each form that takes more than a viewer's role: by whom and on what; refused ones too; a preview is none."""
    password = "a long password of a test"
    for role, form, status, outcomes in (
        ("editor", "begin", 303, ["begun"]),
        ("approver", "1/approve", 409, ["begun", "refused"]),
        ("viewer", "begin", 403, ["refused"]),
    ):
        user = await gateway.ledger.users.add("acme", "A Person", f"{role}@example.com", role, password, NOW)
        token = await Sessions(gateway.ledger.database, gateway.ledger.signer).open(user, NOW)
        session = await Sessions(gateway.ledger.database, gateway.ledger.signer).find(token, NOW)
        assert session is not None
        before = len(await _entries(gateway))
        answer = await client.holding("").post(
            f"/editor/templates/overdue-first/{form}",
            data={"form_token": session.form_token},
            headers={"Cookie": f"gateway_session={token}"},
            allow_redirects=False,
        )
        new = (await _entries(gateway))[before:]
        assert (answer.status, [each["outcome"] for each in new]) == (status, outcomes)
        assert {each["actor"] for each in new} == {user.actor}
        assert {each["target"]["template"] for each in new} == {"overdue-first"}


async def test_an_entry_that_was_changed_is_found(client: Client, gateway: Gateway) -> None:
    """The database refuses to change or delete one; done past its triggers, verify names the chain."""
    for number in range(3):
        await client.call("PUT", f"/v1/borrowers/B-{number}/holds/dispute", {"reason": "a test"})
    assert (await evidence.verify(gateway.ledger.database)).broken == []
    statements = (
        "UPDATE events SET actor = 'key:other' WHERE kind = 'admin_act'",
        "DELETE FROM events WHERE kind = 'admin_act'",
    )
    for statement in statements:
        with pytest.raises(Unavailable):
            await gateway.ledger.database.write(lambda connection, sql=statement: connection.execute(text(sql)))  # type: ignore[misc]
    last = "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events WHERE kind = 'admin_act')"
    await gateway.ledger.database.write(lambda connection: connection.execute(text("DROP TRIGGER events_no_delete")))
    await gateway.ledger.database.write(lambda connection: connection.execute(text(last)))
    [(subject, _)] = (await evidence.verify(gateway.ledger.database)).broken
    assert subject == "admin:acme"
