"""The typed client against a gateway: every operation generated, retries without duplicates, batches, webhooks."""

from __future__ import annotations

import asyncio
import re
import runpy
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from notification_gateway_client import (
    AsyncGatewayClient,
    GatewayClient,
    NotReached,
    NotVerified,
    ProblemError,
    send_batches,
    send_batches_async,
    verify_webhook,
)
from notification_gateway_client.models import HoldIn, NotificationIn
from standardwebhooks import Webhook

from tests.support.api_gateway import request
from tests.support.app_client import AppClient
from tests.support.storage.ledgers import NOW

CLIENT = Path(__file__).parents[3] / "ops" / "client"


def reminder(number: int, **changes: Any) -> NotificationIn:
    return NotificationIn.model_validate(request(number, **changes))


async def test_the_generated_files_are_those_of_the_document(app_client: AppClient) -> None:
    """After a change of the API: ops/client/generate openapi.json."""
    document = (await app_client.get("/openapi.json")).json
    made = runpy.run_path(str(CLIENT / "generate"))["files"](document)
    for name, text in made.items():
        assert (CLIENT / "src" / "notification_gateway_client" / name).read_text("utf-8") == text, name


async def test_the_readme_works(app_client: AppClient) -> None:
    """The first example of the client's README, with the address and the key of a running gateway."""
    text = (CLIENT / "README.md").read_text("utf-8")
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    example = example.replace("http://127.0.0.1:8080", app_client.url).replace("ndg_…", app_client.token)
    found: dict[str, Any] = {}
    await asyncio.to_thread(exec, example, found)
    assert found["accepted"].state == "accepted"


async def test_async_client(app_client: AppClient) -> None:
    """Accept, look, list, hold, lift: typed answers, None for no content, errors with their pointers."""
    async with AsyncGatewayClient(app_client.url, app_client.token) as gateway:
        accepted = await gateway.create_notification(reminder(1), idempotency_key="k-1")
        assert (await gateway.create_notification(reminder(1), idempotency_key="k-1")).id == accepted.id
        shown = await gateway.get_notification(accepted.id)
        assert (shown.deliveries[0].channel, shown.accepted_at.tzinfo is not None) == ("sms", True)
        listed = await gateway.list_notifications(borrower_id="B-1", from_=NOW.replace(year=2025), limit=1)
        assert [each.id for each in listed.notifications] == [accepted.id]
        held = await gateway.set_hold("B-1", "dispute", HoldIn(reason="a test"))
        assert (held.kind, held.end) == ("dispute", None)
        await gateway.lift_hold("B-1", "dispute")
        with pytest.raises(ProblemError) as refused:
            await gateway.create_notification(reminder(2, template="overdue-frist"))
        assert refused.value.kind == "unknown_template"
        assert [each.pointer for each in refused.value.problem.errors] == ["/template"]
        with pytest.raises(ProblemError, match="404"):
            await gateway.get_notification("a/b")  # an id is one segment, whatever is in it


async def test_batches(app_client: AppClient) -> None:
    """Sync and async: progress after each batch, rejections by their number, and no duplicates in a repetition."""
    reminders = [reminder(each) for each in range(5)] + [reminder(5, template="no-such")]
    seen: list[Any] = []

    def send() -> Any:
        with GatewayClient(app_client.url, app_client.token) as gateway:
            return send_batches(gateway, iter(reminders), "run-1", size=4, report=seen.append)

    done = await asyncio.to_thread(send)
    assert (done.accepted, done.replayed, done.rejected) == (5, 0, 1)
    assert [(each.first, each.accepted) for each in seen] == [(0, 4), (4, 5)]
    assert [(number, each.type) for number, each in seen[1].rejections] == [(5, "/problems/unknown_template")]
    async with AsyncGatewayClient(app_client.url, app_client.token) as gateway:
        again = await send_batches_async(gateway, reminders, "run-1")
    assert (again.accepted, again.replayed, again.rejected) == (0, 5, 1)
    with pytest.raises(ValueError, match="size"):
        send_batches(GatewayClient(app_client.url, ""), reminders, "run-1", size=1001)


class _Flaky(BaseHTTPRequestHandler):
    """Answers as ``script`` says, in turn: a status, or 0 for a connection that breaks after the request was read."""

    script: ClassVar[list[int]] = []
    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).keys.append(self.headers["Idempotency-Key"])
        status = type(self).script.pop(0)
        if not status:
            self.connection.close()
            self.close_connection = True
            return
        problem = f'{{"type": "/problems/x", "title": "x", "status": {status}, "detail": "", "request_id": "1"}}'
        body = problem if status != 202 else '{"id": "ntf_1", "state": "accepted", "reason": "", "defer_until": null, '
        if status == 202:
            body += '"duplicate_of": null, "paused": null, "links": {"self": "/", "cancel": "/"}}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body.encode())

    do_DELETE = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def flaky() -> Iterator[str]:
    """The address of a server that answers as ``_Flaky.script`` says."""
    _Flaky.script, _Flaky.keys = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Flaky)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr("notification_gateway_client.client._pause", lambda state: 0.0)


@pytest.mark.usefixtures("no_pauses")
def test_an_accept_is_repeated_under_one_key(flaky: str) -> None:
    """503, 500 and a broken connection: the same request again, always under the same key."""
    _Flaky.script = [503, 500, 0, 202]
    with GatewayClient(flaky, "k") as gateway:
        assert gateway.create_notification(reminder(1)).id == "ntf_1"
    assert len(_Flaky.keys) == 4
    assert len(set(_Flaky.keys)) == 1
    assert _Flaky.keys[0]


@pytest.mark.usefixtures("no_pauses")
def test_what_may_have_been_done_is_not_repeated(flaky: str) -> None:
    """A call without an idempotency key: again after 429 and 503, where nothing was done, and after nothing else."""
    with GatewayClient(flaky, "k") as gateway:
        _Flaky.script = [429, 503, 500, 202]
        with pytest.raises(ProblemError, match="500"):
            gateway.cancel_notification("ntf_1")
        _Flaky.script = [0, 202]
        with pytest.raises(NotReached):
            gateway.cancel_notification("ntf_1")
        _Flaky.script = [422]
        with pytest.raises(ProblemError, match="422"):
            gateway.create_notification(reminder(1))
        _Flaky.script = [503] * 9
        with pytest.raises(ProblemError, match="503"):
            gateway.create_notification(reminder(1))
    assert len(_Flaky.script) == 4  # five attempts were made


def test_an_answer_that_is_not_the_gateways() -> None:
    """A proxy's page is no answer, whatever its status."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with GatewayClient("http://gateway", "k", attempts=1) as gateway:
        gateway._http = httpx.Client(transport=transport, base_url="http://gateway")
        with pytest.raises(NotReached, match="200"):
            gateway.get_notification("ntf_1")


def test_webhooks_are_verified() -> None:
    """A message as the gateway signs it; a changed one, one without a signature, and one of another secret."""
    now, secret = datetime.now(UTC), "whsec_" + "c2VjcmV0" * 4
    body = '{"type": "delivery.sent", "timestamp": "2026-11-24T02:00:00Z", "data": {"sequence": 1}}'
    signature = Webhook(secret).sign("msg_1", now, body)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(now.timestamp())), "Webhook-Signature": signature}
    event = verify_webhook(secret, body.encode(), headers)
    assert (event.id, event.type, event.data) == ("msg_1", "delivery.sent", {"sequence": 1})
    for wrong_secret, wrong_body, wrong_headers in (
        (secret, body + " ", headers),
        (secret, body, {}),
        ("whsec_" + "b3RoZXIx" * 4, body, headers),
    ):
        with pytest.raises(NotVerified):
            verify_webhook(wrong_secret, wrong_body.encode(), wrong_headers)
