"""Rotation of the signing key on a ledger with history: no opt-out, callback, API key or session is lost."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from gateway.app.embedded.errors import CannotStart
from gateway.core.signing import Signer
from gateway.identity.sessions import Sessions
from gateway.identity.users import Role
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.ledgers import NOW

OLD, NEW = "first-key-of-a-test-0001", "second-key-of-a-test-0002"
STEPS = [OLD, f"{OLD}\n{NEW}\ndigest:{OLD}", f"{NEW}\n{OLD}\ndigest:{OLD}", f"{NEW}\ndigest:{OLD}"]
PASSWORD = "a long password of a test"


async def test_a_rotation_loses_nothing(tmp_path: Path, redis_url: str) -> None:
    """In every step the opt-outs of every earlier step are found, API keys and sessions work, callbacks are ours."""
    key, token, opted_out, references = "", "", list[int](), list[str]()
    for step, secret in enumerate(STEPS):
        async with (
            open_api_gateway(tmp_path, redis_url, secret_key=secret) as gateway,
            serving(app_of(gateway)) as url,
            aiohttp.ClientSession() as session,
        ):
            if not key:
                _, key = await gateway.ledger.keys.create("acme", "test", ["send", "read", "manage"], NOW)
                user = await gateway.ledger.users.add("acme", "Mei", "mei@example.com", Role.VIEWER, PASSWORD, NOW)
                token = await Sessions(gateway.ledger.database, gateway.ledger.signer).open(user, NOW)
            client = Client(session, url, key)
            number = 10 + step
            body = request(number, route=["sms"])
            body["borrower"]["addresses"]["sms"] = f"+8869123456{number}"
            out = {"channel": "sms", "address": f"+8869123456{number}", "source": "letter"}
            assert (await client.post(f"/v1/borrowers/B-{number}/opt-outs", out)).status == 201
            suppressed = {"channel": "email", "address": f"b{number}@example.com", "reason": "bounced"}
            assert (await client.post("/v1/suppressions", suppressed)).status == 200
            opted_out.append(number)
            for each in opted_out:
                asked = request(each, route=["sms"])
                asked["borrower"]["addresses"]["sms"] = f"+8869123456{each}"
                decision = (await client.post("/v1/decisions", asked)).json
                assert (decision["verdict"], decision["reason"]) == ("suppress", "opted_out"), (step, each)
                by_mail = (await client.post("/v1/decisions", request(each, route=["email"]))).json
                assert (by_mail["verdict"], by_mail["reason"]) == ("suppress", "address_suppressed"), (step, each)
            references.append(gateway.ledger.signer.reference(f"dlv_{step}", 1))
            accepted = [gateway.ledger.signer.open_reference(each) is not None for each in references]
            retired = step == len(STEPS) - 1  # the old key no longer verifies
            assert accepted == [not retired or each >= 2 for each in range(step + 1)]
            assert (await Sessions(gateway.ledger.database, gateway.ledger.signer).find(token, NOW) is None) == retired


async def test_another_digest_key_does_not_start(tmp_path: Path, redis_url: str) -> None:
    """The remedy names the setting; with the key given back it starts again, and nothing was changed."""
    for secret in (OLD, f"{NEW}\ndigest:{OLD}"):
        async with open_api_gateway(tmp_path, redis_url, secret_key=secret):
            pass
    for wrong in (NEW, f"{OLD}\ndigest:{NEW}", f"{NEW}\n{OLD}"):
        with pytest.raises(CannotStart, match="GATEWAY_SECRET_KEY") as refused:
            async with open_api_gateway(tmp_path, redis_url, secret_key=wrong):
                pass
        assert OLD not in str(refused.value)
    async with open_api_gateway(tmp_path, redis_url, secret_key=OLD) as gateway:
        assert gateway.ledger.signer.key_check() == Signer(OLD.encode()).key_check()
