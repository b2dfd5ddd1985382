"""The case endpoints: what they take, what they refuse with which field, and what they answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.api.http.bodies import validated
from gateway.api.requests.cases import CaseItemIn
from gateway.cli.client import ApiTarget
from gateway.cli.portfolio import files, mapping, sender
from tests.ops.promtool import OPS
from tests.support.api_gateway import Client, app_of, case_body, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW


@pytest.fixture
async def client(tmp_path: Path, redis_url: str) -> AsyncIterator[Client]:
    """A client of a case system's key."""
    async with open_api_gateway(tmp_path, redis_url) as gateway:
        _, key = await gateway.ledger.keys.create("acme", "cases", ["send", "read", "manage"], NOW)
        async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
            yield Client(session, url, key)


async def test_a_case_is_fed_paid_and_over(client: Client) -> None:
    """What is pending for it is cancelled with the payment, and what comes later is suppressed."""
    put = await client.call("PUT", "/v1/cases/C-1", case_body())
    assert (put.status, put.json["changed"], put.json["facts"]["days_overdue"]) == (200, True, 4)
    waiting = await client.post("/v1/notifications", request(send_at="2026-11-26T02:00:00Z"))
    assert waiting.status == 202
    paid = {"id": "p1", "amount": "3913.00", "at": "2026-11-24T09:00:00Z"}
    done = await client.post("/v1/cases/C-1/payments", paid)
    assert (done.json["ended"], done.json["cancelled"]) == ("paid", 1)
    again = await client.post("/v1/cases/C-1/payments", paid)
    assert (again.status, again.json["changed"]) == (200, False)
    other = request(case={"id": "C-1", "product": "card", "due_date": "2026-11-20", "stage": "follow_up"})
    late = await client.post("/v1/notifications", other)
    assert (late.json["state"], late.json["reason"]) == ("suppressed", "case_closed")
    found = (await client.get("/v1/cases/C-1")).json
    assert "Chen Mei" not in str(found)
    assert found["payments"] == 1


async def test_promises_plans_and_closings_are_answered(client: Client) -> None:
    """Each says what follows from it."""
    await client.call("PUT", "/v1/cases/C-1", case_body())
    promised = {"id": "r1", "amount": "100.00", "date": "2026-11-30", "made_at": "2026-11-24T09:00:00Z"}
    assert (await client.post("/v1/cases/C-1/promises", promised)).json["promise"] == {"id": "r1", "date": "2026-11-30"}
    plan = {"id": "l1", "instalment": "700.00", "instalments": 6, "first_date": "2026-12-10"}
    agreed = await client.post("/v1/cases/C-1/plans", {**plan, "agreed_at": "2026-11-24T09:00:00Z"})
    assert agreed.json["plan"] == {"id": "l1", "first_date": "2026-12-10"}
    borrower = (await client.get("/v1/borrowers/B-1")).json
    assert {each["kind"] for each in borrower["holds"]} == {"promise_to_pay", "plan_in_place"}
    closed = await client.post("/v1/cases/C-1/close", {"reason": "sold"})
    assert closed.json == {"id": "C-1", "reason": "sold", "cancelled": 0}
    assert (await client.get("/v1/cases/C-1")).json["ended"] == "closed"
    assert (await client.get("/v1/cases/C-2")).problem == "not_found"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"facts": {"age": 40}}, "/facts"),
        ({"facts": {"months_overdue": "1"}}, "/facts"),
        ({"balance": "1e9"}, "/balance"),
        ({"balance": 3913}, "/balance"),
        ({"as_of": None}, "/as_of"),
        ({"due_date": "2026-02-30"}, "/due_date"),
        ({"currency": "twd"}, "/currency"),
    ],
)
async def test_what_is_wrong_is_named(client: Client, changes: dict[str, Any], pointer: str) -> None:
    """Facts that are on no list (protected traits among them), amounts as floats, dates that don't exist."""
    answer = await client.call("PUT", "/v1/cases/C-1", case_body(**changes))
    assert (answer.problem, answer.pointers) == ("invalid_request", [pointer])


async def test_an_address_that_nothing_could_be_sent_to_is_refused(client: Client) -> None:
    body = case_body()
    body["borrower"] = {**body["borrower"], "addresses": {"sms": "12"}}
    answer = await client.call("PUT", "/v1/cases/C-1", body)
    assert answer.pointers == ["/borrower/addresses/sms"]


async def test_a_batch_answers_each_case_in_its_place(client: Client) -> None:
    """A bad one does not stop the others."""
    good = {"id": "C-1", "case": case_body(), "payments": [{"id": "p", "amount": "1", "at": "2026-11-24T09:00:00Z"}]}
    answer = await client.post("/v1/cases/batch", {"cases": [good, {"id": "C-2"}, {"id": "C/3", "case": {}}]})
    assert [each["status"] for each in answer.json["results"]] == [200, 422, 422]
    assert answer.json["results"][0]["payments"] == 1
    assert (await client.post("/v1/cases/batch", {"cases": []})).problem == "invalid_request"


def test_the_shipped_mapping_makes_cases(tmp_path: Path) -> None:
    """A row of the card portfolio is a case that the endpoint takes."""
    path = tmp_path / "rows.csv"
    columns = {"id": "7", "pay_0": "2", "name": "N", "phone": "+12025550107", "email": "a@example.com"}
    columns |= {f"bill_amt{number}": "100" for number in range(1, 7)} | {"preferred_channel": "sms"}
    path.write_text(",".join(columns) + "\n" + ",".join(columns.values()) + "\n")
    [row] = files.read(path, mapping.load(OPS / "mappings" / "card-cases.toml"))
    assert isinstance(row, files.PortfolioRow)
    item = validated(CaseItemIn, row.request)
    assert item.record(NOW).snapshot is not None
    assert item.record(NOW).id == "card-00007"


async def test_a_csv_of_dotted_columns_is_loaded(client: Client, tmp_path: Path) -> None:
    """Without a mapping a column is a path in the request, as in a file of notifications."""
    body = case_body()
    del body["facts"]
    person = body.pop("borrower")
    zones, addresses = person.pop("time_zones"), person.pop("addresses")
    cells = {"id": "C-1"} | {f"case.{name}": value for name, value in body.items()}
    cells |= {f"case.borrower.{name}": value for name, value in person.items()}
    cells |= {f"case.borrower.addresses.{name}": value for name, value in addresses.items()}
    cells["case.borrower.time_zones.0"] = zones[0]
    path = tmp_path / "cases.csv"
    path.write_text("\n".join([",".join(cells), ",".join(cells.values())]), "utf-8")
    options = sender.SendOptions(endpoint=sender.CASES)
    tally = await sender.send(files.read(path), ApiTarget(client.url, client.token), options)
    assert (tally.accepted, tally.errors) == (1, [])


async def test_a_file_is_loaded_and_may_be_loaded_again(client: Client, tmp_path: Path) -> None:
    """What is known already changes nothing; a wrong row is named by line and field, and the others are taken."""
    rows = [{"id": f"C-{number}", "case": case_body(number)} for number in (1, 2)]
    rows.append({"id": "C-3", "case": case_body(3, currency="?")})
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in rows), "utf-8")
    options = sender.SendOptions(endpoint=sender.CASES)
    for accepted, replayed in ((2, 0), (0, 2)):
        tally = await sender.send(files.read(path), ApiTarget(client.url, client.token), options)
        assert (tally.accepted, tally.replayed, tally.rejected) == (accepted, replayed, 1)
        assert [(each.line, each.field) for each in tally.errors] == [(3, "case.currency")]
