"""The API against its own OpenAPI document: generated requests to every operation, each answer as documented."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import aiohttp
import pytest
from schemathesis import Case
from twilio.request_validator import RequestValidator

from gateway.app.app import Gateway
from gateway.core.notifications import new_id
from tests.support import api_schema
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.app_client import AppClient
from tests.support.storage.ledgers import NOW

_EXAMPLES = 1  # of each operation in each phase, besides the coverage phase's own, which are most of the calls
_LEAST_CALLS = 2000


async def _filled(gateway: Gateway, client: Client) -> None:
    """Something of each kind, so that lists have items and ids lead somewhere."""
    for number in range(1, 4):
        assert (await client.post("/v1/notifications", request(number))).status == 202
        await gateway.providers.inbox.put("acme", "B-1", new_id("dlv", NOW), "A title", "A text")
    borrower = "/v1/borrowers/B-1"
    for method, path, body in (
        ("PUT", f"{borrower}/holds/dispute", {"reason": "a test"}),
        ("POST", f"{borrower}/opt-outs", {"channel": "email", "source": "a test"}),
        ("POST", f"{borrower}/consents", {"category": "collections", "source": "a test", "evidence": "file 1"}),
        ("POST", "/v1/suppressions", {"channel": "email", "address": "x@example.com", "reason": "complaint"}),
        ("POST", "/v1/webhook-endpoints", {"url": "https://example.com/hook"}),
        ("POST", "/v1/templates/overdue-first/versions", {"comment": "a test"}),
    ):
        answer = await client.call(method, path, body)
        assert answer.status < 300, (path, answer.raw)


def _signed(gateway: Gateway) -> Callable[[Case], None]:
    """Signs callbacks as the provider does, where they are forms of texts; others stay forged."""
    validator = RequestValidator("ab" * 16)  # the token of tests/support/api_gateway.py

    def sign(case: Case) -> None:
        texts = isinstance(case.body, dict) and all(isinstance(each, str) for each in case.body.values())
        if case.path.endswith("/{provider}") and texts:
            url = gateway.ledger.settings.effective_public_url + case.formatted_path
            case.headers["X-Twilio-Signature"] = validator.compute_signature(url, case.body)

    return sign


@pytest.mark.timeout(900)  # it takes 40 s of one core, and shares it with other tests
async def test_every_operation_answers_as_documented(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemathesis' phases (examples, coverage, fuzzing, stateful): no server error, no undocumented answer."""
    # As where fpdf2 is not installed: the evidence's PDFs, of a Chinese font, take a quarter of the processor time.
    monkeypatch.setattr("gateway.web.desk.evidence.pdf", lambda *_: None)
    # A proxy of the environment is not for loopback; without this, each call looks through all variables for one.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    directory = Path(tempfile.mkdtemp(prefix="gw-"))
    try:
        async with open_api_gateway(directory, redis_url) as gateway:
            _, key = await gateway.ledger.keys.create("acme", "test", ["admin"], NOW)
            tokens = {"apiKey": key, "borrowerToken": gateway.ledger.signer.borrower_token("acme", "B-1", NOW)}
            async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
                client = Client(session, url, key)
                await _filled(gateway, client)
                document = (await client.get("/openapi.json")).json
                found = await asyncio.to_thread(api_schema.run, document, url, tokens, _EXAMPLES, _signed(gateway))
    finally:
        rmtree(directory, ignore_errors=True)
    assert found.failures == {}
    assert found.errors == []
    operations = {f"{method.upper()} {path}" for path, each in document["paths"].items() for method in each}
    assert operations - found.calls.keys() == set()
    assert set(found.phases) == {"examples", "coverage", "fuzzing", "stateful"}
    assert found.calls.total() >= _LEAST_CALLS
    assert found.statuses["POST /v1/receipts/{provider}"][204]
    assert found.statuses["POST /v1/inbound/{provider}"][200]


async def test_the_documented_examples_work(app_client: AppClient) -> None:
    """Each request body's example is accepted as it stands, as it is by the demo."""
    document = (await app_client.get("/openapi.json")).json
    models = document["components"]["schemas"]
    known = {"borrower_id": "B-1001", "kind": "dispute", "case_id": "C-77"}
    tried = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            example = models.get(content.get("$ref", "").rpartition("/")[2], {}).get("example")
            if example is not None and known.keys() >= set(re.findall(r"{(\w+)}", path)):
                answer = await app_client.call(method.upper(), path.format(**known), example)
                assert answer.status < 300, (path, answer.raw)
                tried.add(operation["operationId"])
    assert {"create_notification", "set_hold", "add_opt_out", "give_consent", "set_suppression", "set_control"} <= tried
    assert {"close_case", "redrive_dead_letters", "create_webhook_endpoint"} <= tried
