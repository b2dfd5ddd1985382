"""A spam complaint of a borrower: from the mailbox provider's report to the refusal of the next e-mail."""

from __future__ import annotations

import base64

import pytest

from channels.email.reports import return_path
from gateway.core.states import State
from gateway.operations import unverified_reports
from tests.support.api_gateway import request
from tests.support.app_client import AppClient
from tests.support.providers.mails import COMPLAINT


async def test_a_complaint_about_a_mail_ends_all_mail_to_that_address(app_client: AppClient) -> None:
    """The report names our return path; it becomes an opt-out, and the next reminder by e-mail is suppressed."""
    gateway = app_client.gateway
    first = await app_client.post("/v1/notifications", request(route=["email"]))
    await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
    found = await gateway.ledger.reads.notification("acme", first.json["id"])
    assert found is not None
    [delivery] = found["deliveries"]

    path = return_path(gateway.ledger.signer.reference(delivery["id"], 1), "gateway.example.com")
    complaint = COMPLAINT.format(kind="abuse", field=f"Original-Mail-From: <{path}>", original="Subject: x")
    from_relay = app_client.holding(gateway.providers.by_name["mail-sink"]._callback_token)  # type: ignore[attr-defined]
    taken = await from_relay.post("/v1/receipts/mail-sink", data=complaint.encode())
    assert taken.status == 204

    case = {**request()["case"], "id": "C-another"}
    second = await app_client.post("/v1/notifications", request(route=["email"], case=case))
    assert (second.status, second.json["state"], second.json["reason"]) == (202, State.SUPPRESSED, "opted_out")


async def test_a_complaint_without_a_reference_is_read_by_a_person(
    app_client: AppClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits in the reviews with its mail; refused with the borrower it ends all mail to that address."""
    gateway = app_client.gateway
    await app_client.post("/v1/notifications", request(route=["email"]))
    await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
    raw = COMPLAINT.format(kind="abuse", field="X: y", original="To: chen@example.com").encode()
    from_relay = app_client.holding(gateway.providers.by_name["mail-sink"]._callback_token)  # type: ignore[attr-defined]
    assert (await from_relay.post("/v1/receipts/mail-sink", data=raw)).status == 204
    monkeypatch.setattr(unverified_reports, "MOST_IN_AN_HOUR", 1)
    refused = await from_relay.post("/v1/receipts/mail-sink", data=raw.replace(b"chen", b"chan"))
    assert (refused.status, "Retry-After" in refused.headers) == (503, True)
    full = 'gateway_callbacks_refused_total{provider="mail-sink",reason="queue_full"} 1.0'
    assert full in gateway.path.metrics.render()[0].decode()

    [item] = (await app_client.get("/v1/reviews")).json["reviews"]
    assert (item["kind"], item["reason"], item["urgency"]) == ("report", "unverified_complaint", "today")
    assert "To: chen@example.com" in item["text"]
    original = await app_client.get(f"/v1/reviews/{item['id']}/original")
    assert base64.b64decode(original.json["mail"]) == raw
    assert (await app_client.get("/v1/reviews/unv_nothing/original")).status == 404

    path, why = f"/v1/reviews/{item['id']}/refuse", {"reason": "the address is in the mail"}
    for body in (why, why | {"borrower_id": "B-nobody"}):
        wrong = await app_client.post(path, body)
        assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "/borrower_id")
    assert (await app_client.post(path, why | {"borrower_id": request()["borrower"]["id"]})).status == 200
    case = {**request()["case"], "id": "C-another"}
    second = await app_client.post("/v1/notifications", request(route=["email"], case=case))
    assert (second.json["state"], second.json["reason"]) == (State.SUPPRESSED, "opted_out")
