"""A spam complaint of a borrower: from the mailbox provider's report to the refusal of the next e-mail."""

from __future__ import annotations

from channels.email.reports import return_path
from gateway.core.states import State
from tests.support.api_gateway import request
from tests.support.app_client import AppClient
from tests.support.mails import COMPLAINT


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
