"""Webhooks over HTTP: endpoints through the API, signed messages at a real receiver, addresses that are not called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.app.app import Gateway
from gateway.app.periodic import PeriodicWork, run_periodically
from gateway.core.states import WebhookOutcome
from gateway.webhooks.guard import Guard
from gateway.webhooks.outbox import WebhookMessage, WebhookOutbox
from gateway.webhooks.runner import Webhooks
from gateway.webhooks.sender import WebhookSender
from gateway.webhooks.types import TYPES
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.forked import gateway_command
from tests.support.providers.webhook_receiver import Receiver, receiving
from tests.support.storage.ledgers import NOW
from tests.support.waiting import LIMIT_SECONDS, eventually

LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A case system on loopback."""
    async with receiving() as made:
        yield made


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API, allowed to call loopback."""
    async with open_api_gateway(tmp_path, redis_url, webhook_networks=LOOPBACK) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A case system's client, of the tenant acme."""
    _, key = await gateway.ledger.keys.create("acme", "test", ("send", "read", "manage"), NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


async def turns(gateway: Gateway) -> None:
    """Enough turns for whatever a test has to tell: each delivers at least one message of every endpoint."""
    for _ in range(5):
        await gateway.webhooks.runner.run_once()
        await gateway.webhooks.runner.finish()


async def test_a_case_system_is_told_what_became_of_its_request(
    client: Client, gateway: Gateway, receiver: Receiver
) -> None:
    """From the 202 to the receiver: signed so that the standard's own library verifies it, and logged."""
    made = await client.post("/v1/webhook-endpoints", {"url": receiver.url, "types": ["delivery.delivered"]})
    assert made.status == 201
    accepted = (await client.post("/v1/notifications", request(route=["inapp"]))).json
    shown = (await client.get(accepted["links"]["self"])).json
    await gateway.path.pipeline.dispatch([shown["deliveries"][0]["id"]])
    await turns(gateway)
    [(headers, body)] = receiver.heard
    message = Webhook(made.json["secret"]).verify(body, headers)
    assert (message["type"], message["data"]["notification_id"]) == ("delivery.delivered", accepted["id"])
    with pytest.raises(WebhookVerificationError):
        Webhook(made.json["secret"]).verify(body + b" ", headers)
    log = (await client.get(f"/v1/webhook-endpoints/{made.json['id']}/messages")).json
    [line] = log["messages"]
    assert (line["id"], line["state"], line["status"], line["attempts"]) == (
        headers["webhook-id"],
        "delivered",
        204,
        1,
    )
    assert line["body"] == json.loads(body)
    metrics = gateway.path.metrics.render()[0].decode()
    assert 'gateway_webhook_attempts_total{outcome="delivered"} 1.0' in metrics
    assert "gateway_webhook_messages_waiting 0.0" in metrics


async def test_authors_are_told_what_became_of_their_template(
    client: Client, gateway: Gateway, receiver: Receiver
) -> None:
    """Who decided what about which version, in the words of the decision; nothing of a borrower."""
    types = ["template.submitted", "template.commented", "template.rejected"]
    await client.post("/v1/webhook-endpoints", {"url": receiver.url, "types": types})
    editing = gateway.editor.workflow
    draft = await editing.begin("acme", "overdue-first", "user:ann")
    await editing.submit("acme", "overdue-first", draft.number, 1, "user:ann", "please read")
    place = ("sms", "en-US", "Example Bank")
    await editing.reviews.comment("acme", "overdue-first", draft.number, "user:bob", place, "Which one?")
    await editing.reject("acme", "overdue-first", draft.number, "user:bob", "see my comment")
    await turns(gateway)
    told = [json.loads(body) for _, body in receiver.heard]
    assert [each["type"] for each in told] == types
    assert told[1]["data"]["words"] == "Example Bank"
    rejected = {name: told[2]["data"][name] for name in ("template", "number", "actor", "comment", "authors")}
    assert rejected == {
        "template": "overdue-first",
        "number": draft.number,
        "actor": "user:bob",
        "comment": "see my comment",
        "authors": ["user:ann"],
    }


async def test_telling_again_uses_the_same_id(client: Client, gateway: Gateway, receiver: Receiver) -> None:
    """A refused message waits for its next turn; a replay tells it at once, and what arrived only when asked."""
    path = "/v1/webhook-endpoints"
    made = (await client.post(path, {"url": receiver.url, "types": ["borrower.hold_set"]})).json
    receiver.answers = [302]
    await client.call("PUT", "/v1/borrowers/B-1/holds/dispute", {})
    await turns(gateway)
    assert [
        len(receiver.heard),
        (await client.get(f"{path}/{made['id']}/messages?state=pending")).json["messages"][0]["outcome"],
    ] == [1, "refused"]
    assert (await client.post(f"{path}/{made['id']}/replay", {})).json["replayed"] == 1
    await turns(gateway)
    assert (await client.post(f"{path}/{made['id']}/replay", {})).json["replayed"] == 0
    again = {"since": "2026-01-01T00:00:00Z", "all": True}
    assert (await client.post(f"{path}/{made['id']}/replay", again)).json["replayed"] == 1
    await turns(gateway)
    ids = [headers["webhook-id"] for headers, _ in receiver.heard]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    wrong = await client.post(f"{path}/{made['id']}/replay", {"all": True})
    assert (wrong.status, wrong.pointers) == (422, ["/all"])


async def test_a_rotated_secret_and_the_one_before_both_verify(
    client: Client, gateway: Gateway, receiver: Receiver
) -> None:
    """Nobody misses a message while a secret is changed."""
    first = (await client.post("/v1/webhook-endpoints", {"url": receiver.url})).json
    second = (await client.post(f"/v1/webhook-endpoints/{first['id']}/rotate", {})).json
    assert second["secret"] != first["secret"]
    await client.call("PUT", "/v1/borrowers/B-1/holds/dispute", {})
    await turns(gateway)
    [(headers, body)] = receiver.heard
    for secret in (first["secret"], second["secret"]):
        assert Webhook(secret).verify(body, headers)["type"] == "borrower.hold_set"


async def test_an_endpoint_that_is_gone_is_told_nothing_until_it_is_enabled(
    client: Client, gateway: Gateway, receiver: Receiver
) -> None:
    """410 disables; what happened meanwhile is told when it comes back."""
    path = "/v1/webhook-endpoints"
    made = (await client.post(path, {"url": receiver.url})).json
    receiver.answers = [410]
    await client.call("PUT", "/v1/borrowers/B-1/holds/dispute", {})
    await turns(gateway)
    shown = (await client.get(f"{path}/{made['id']}")).json
    assert (shown["disabled_reason"], "secret" in shown) == ("gone", False)
    await client.call("DELETE", "/v1/borrowers/B-1/holds/dispute")
    await turns(gateway)
    assert len(receiver.heard) == 1
    assert (await client.post(f"{path}/{made['id']}/enable", {})).json["disabled_at"] is None
    await client.post(f"{path}/{made['id']}/replay", {})
    await turns(gateway)
    assert [json.loads(body)["type"] for _, body in receiver.heard[1:]] == ["borrower.hold_set", "borrower.hold_lifted"]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"url": "ftp://cases.example.com/hooks"}, "/url"),
        ({"url": "https://user:word@cases.example.com/hooks"}, "/url"),
        ({"url": "https://10.0.0.1/hooks"}, "/url"),
        ({"url": "https://[::ffff:10.0.0.1]/hooks"}, "/url"),
        ({"url": "https://cases.example.com:99999/hooks"}, "/url"),
        ({"url": "https://cases.example.com/hooks", "types": ["delivery.sending"]}, "/types/0"),
        ({}, "/url"),
    ],
)
async def test_a_wrong_endpoint_is_refused_with_the_remedy(
    client: Client, given: dict[str, object], pointer: str
) -> None:
    """Neither other protocols nor private addresses nor types that don't exist."""
    answer = await client.post("/v1/webhook-endpoints", given)
    assert (answer.status, answer.pointers) == (422, [pointer])


async def test_endpoints_are_their_tenants(client: Client, gateway: Gateway) -> None:
    """Another tenant sees and ends nothing; a key that may only read makes none."""
    path = "/v1/webhook-endpoints"
    made = (await client.post(path, {"url": "https://cases.example.com/hooks"})).json
    _, other_key = await gateway.ledger.keys.create("other", "test", ("read", "manage"), NOW)
    _, reading = await gateway.ledger.keys.create("acme", "reader", ("read",), NOW)
    other = client.holding(other_key)
    assert (await other.get(path)).json == {"webhook_endpoints": []}
    for call in (other.get(f"{path}/{made['id']}"), other.call("DELETE", f"{path}/{made['id']}")):
        assert (await call).status == 404
    for verb in ("rotate", "enable", "replay"):
        assert (await other.post(f"{path}/{made['id']}/{verb}", {})).status == 404
    assert (await client.holding(reading).post(path, {"url": "https://cases.example.com"})).status == 403
    [listed] = (await client.get(path)).json["webhook_endpoints"]
    assert (listed["id"], "secret" in listed) == (made["id"], False)
    assert (await client.call("DELETE", f"{path}/{made['id']}")).status == 204
    assert (await client.get(f"{path}/{made['id']}")).status == 404


# ── the guard ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds keep credentials
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("10.9.0.7", False),
        ("::127.0.0.1", False),
        ("fec0::1", False),
        ("64:ff9b:1::7f00:1", False),
        ("5f00::1", False),
        ("127.1", False),
        ("2130706433", False),
        ("0177.0.0.1", False),
        ("0x7f.1", False),
        ("0", False),
        ("127.0.0.1.", False),
        ("127.0.0.\uff11", False),  # a full-width digit, which IDNA makes an ordinary one
        ("127\u30020\u30020\u30021", False),  # ideographic full stops
        ("127%2E0%2E0%2E1", False),
        ("93.184.215.14.", False),  # public, but not in the one canonical form
    ],
)
def test_only_public_addresses_are_called(address: str, permitted: bool) -> None:
    """Private, local and reserved networks, also written as IPv6; a network that was allowed is."""
    guard = Guard([])
    url = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    assert (guard.wrong_url(url) == "") is permitted
    assert Guard(["10.9.0.0/16"]).wrong_url("http://10.9.0.7/") == ""
    assert guard.wrong_url("http://cases.example.com/") != ""


async def test_an_endpoint_is_tested(client: Client, receiver: Receiver) -> None:
    """One signed message at once, whatever the endpoint subscribes to; the answer and the log say how that went."""
    made = (await client.post("/v1/webhook-endpoints", {"url": receiver.url, "types": ["delivery.delivered"]})).json
    path = f"/v1/webhook-endpoints/{made['id']}"
    sent = await client.post(f"{path}/test")
    assert sent.status == 200
    assert (sent.json["state"], sent.json["outcome"], sent.json["status"]) == ("delivered", "delivered", 204)
    [(headers, body)] = receiver.heard
    message = Webhook(made["secret"]).verify(body, headers)
    assert (message["type"], headers["webhook-id"]) == ("webhook_endpoint.test", sent.json["id"])
    assert message["data"] == {"webhook_endpoint_id": made["id"], "sequence": 1}
    assert (await client.get(f"{path}/messages")).json["messages"] == [sent.json]
    assert (await client.post("/v1/webhook-endpoints/whe_1/test")).problem == "not_found"


async def test_a_test_that_fails_is_told_and_not_repeated(client: Client, gateway: Gateway, receiver: Receiver) -> None:
    """The endpoint's own answer is shown; no worker sends it again, and other messages are not held up by it."""
    made = (await client.post("/v1/webhook-endpoints", {"url": receiver.url})).json
    receiver.answers[:] = [500]
    sent = (await client.post(f"/v1/webhook-endpoints/{made['id']}/test")).json
    assert (sent["state"], sent["outcome"], sent["status"]) == ("failed", "unavailable", 500)
    assert sent["next_attempt_at"] is None
    await turns(gateway)
    assert len(receiver.heard) == 1
    assert (await client.post(f"/v1/webhook-endpoints/{made['id']}/test")).json["sequence"] == 2


async def test_a_test_whose_process_died_is_sent_by_a_worker(gateway: Gateway, receiver: Receiver) -> None:
    """A process may end before it has sent the message: that is leased for a minute, and due then."""
    made = await gateway.webhooks.endpoints.create("acme", receiver.url, [])
    outbox = WebhookOutbox(gateway.ledger.database)
    assert await outbox.begin_test("acme", made["id"], NOW) is not None
    assert await outbox.claim(made["id"], NOW, 8) == []
    [again] = await outbox.claim(made["id"], NOW + timedelta(seconds=61), 8)
    assert '"webhook_endpoint.test"' in again.body


async def test_a_name_that_points_inside_is_not_called(receiver: Receiver) -> None:
    """Names are resolved at each connection: whatever it pointed to when it was registered."""
    port = receiver.url.rpartition(":")[2]
    message = WebhookMessage("msg_1", "whe_1", f"http://localhost:{port}", "{}", 1, ((1, 1),))
    for networks, outcome in (([], WebhookOutcome.FORBIDDEN), (LOOPBACK, WebhookOutcome.DELIVERED)):
        sender = WebhookSender(Guard(networks), lambda *_: "whsec_c2VjcmV0", lambda: NOW)
        [told] = await sender.send([message])
        await sender.close()
        assert told.outcome is outcome
    literal = WebhookMessage("msg_2", "whe_1", receiver.url, "{}", 1, ((1, 1),))
    sender = WebhookSender(Guard([]), lambda *_: "whsec_c2VjcmV0", lambda: NOW)
    assert [each.outcome for each in await sender.send([literal])] == [WebhookOutcome.FORBIDDEN]
    await sender.close()
    assert len(receiver.heard) == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, WebhookOutcome.DELIVERED),
        (302, WebhookOutcome.REFUSED),
        (400, WebhookOutcome.REFUSED),
        (410, WebhookOutcome.GONE),
        (429, WebhookOutcome.UNAVAILABLE),
        (503, WebhookOutcome.UNAVAILABLE),
    ],
)
async def test_what_an_answer_means(receiver: Receiver, status: int, outcome: WebhookOutcome) -> None:
    """Two hundreds are yes; a redirect is not followed; the rest says whether it is the message or the endpoint."""
    receiver.answers = [status]
    sender = WebhookSender(Guard(LOOPBACK), lambda *_: "whsec_c2VjcmV0", lambda: NOW)
    [told] = await sender.send([WebhookMessage("msg_1", "whe_1", receiver.url, "{}", 1, ((1, 1),))])
    await sender.close()
    assert (told.outcome, told.status, len(receiver.heard)) == (outcome, status, 1)


async def test_nobody_there_is_unreachable() -> None:
    """No listener, and no answer."""
    async with receiving() as gone:
        url = gone.url
    sender = WebhookSender(Guard(LOOPBACK), lambda *_: "whsec_c2VjcmV0", lambda: NOW)
    [told] = await sender.send([WebhookMessage("msg_1", "whe_1", url, "{}", 1, ((1, 1),))])
    await sender.close()
    assert (told.outcome, told.status) == (WebhookOutcome.UNREACHABLE, None)


def test_types_are_listed_once() -> None:
    """What an endpoint may ask for."""
    assert len(set(TYPES)) == len(TYPES)
    assert "delivery.delivered" in TYPES


async def test_the_runner_goes_on_until_it_is_stopped(client: Client, gateway: Gateway, receiver: Receiver) -> None:
    """As a worker runs it: told soon after it happened, ended at once when the worker ends."""
    await client.post("/v1/webhook-endpoints", {"url": receiver.url})
    stop = asyncio.Event()
    running = asyncio.create_task(
        run_periodically(PeriodicWork("webhooks", 0.05, gateway.webhooks.runner.run_once), stop)
    )
    await client.call("PUT", "/v1/borrowers/B-1/holds/dispute", {})
    async with asyncio.timeout(LIMIT_SECONDS):
        while not receiver.heard:  # noqa: ASYNC110 – the receiver is another program in life
            await asyncio.sleep(0.01)
    stop.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        await running


async def test_a_receiver_that_hangs_delays_no_other(client: Client, gateway: Gateway) -> None:
    """Ten endpoints get all that happens, in order, while the eleventh answers nothing; it gets everything later."""
    kinds = [("PUT", "hold_set"), ("DELETE", "hold_lifted")] * 2
    # The hanging request never times out here, so whatever waits for it waits for ever.
    sender = WebhookSender(
        Guard(LOOPBACK), gateway.ledger.signer.webhook_secret, gateway.ledger.clock, timeout_seconds=3600
    )
    webhooks = Webhooks(WebhookOutbox(gateway.ledger.database), sender, gateway.path.metrics, gateway.ledger.clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sender.close)
        hanging, *good = [await stack.enter_async_context(receiving()) for _ in range(11)]
        hanging.hangs = asyncio.Event()
        for each in (hanging, *good):
            await client.post("/v1/webhook-endpoints", {"url": each.url})
        for at, (method, _) in enumerate(kinds, start=1):
            await client.call(method, "/v1/borrowers/B-1/holds/dispute", {})

            async def told(told: int = at) -> bool:
                await webhooks.run_once()
                return all(len(each.heard) == told for each in good) and len(hanging.heard) == 1

            await eventually(told)
        for each in good:
            assert [json.loads(body)["type"] for _, body in each.heard] == [f"borrower.{kind}" for _, kind in kinds]
        hanging.hangs.set()

        async def all_told() -> bool:
            await webhooks.run_once()
            return len(hanging.heard) == len(kinds)

        await eventually(all_told)
        await webhooks.finish()


async def test_the_commands_do_what_the_api_does(client: Client, gateway: Gateway, receiver: Receiver) -> None:
    """Create, see the log, tell again, delete: as an operator does, from a shell."""

    async def gateway_webhook(*arguments: str) -> str:
        options = ["--url", client.url, "--key", client.token]
        done = await asyncio.to_thread(gateway_command, "webhook", *arguments, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout or done.stderr

    made = json.loads(await gateway_webhook("create", receiver.url, "--type", "borrower.hold_set"))
    await client.call("PUT", "/v1/borrowers/B-1/holds/dispute", {})
    await turns(gateway)
    [line] = json.loads(await gateway_webhook("log", made["id"], "--json"))
    assert (line["type"], line["state"]) == ("borrower.hold_set", "delivered")
    assert "1 messages" in await gateway_webhook("replay", made["id"], line["id"])
    await turns(gateway)
    assert len(receiver.heard) == 2
    await gateway_webhook("delete", made["id"])
    assert json.loads(await gateway_webhook("list", "--json")) == []
