"""Rotation of both keys on a ledger with history: no opt-out, callback, API key or session is lost."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from gateway.app.embedded.errors import CannotStart
from gateway.core.security.signing import Signer
from gateway.identity.sessions import Sessions
from gateway.identity.users import Role
from gateway.storage.upgrade.redigest import DigestsByVersion, Redigest
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW

OLD, NEW = "first-key-of-a-test-0001", "second-key-of-a-test-0002"
DIGEST = "third-key-of-a-test-0003"
# Each with whether all digests are brought to the key that writes afterwards.
STEPS = [
    (OLD, False),
    (f"{OLD}\n{NEW}\ndigest:{OLD}", False),
    (f"{NEW}\n{OLD}\ndigest:{OLD}\ndigest2:{DIGEST}", False),
    (f"{NEW}\n{OLD}\ndigest2:{DIGEST}\ndigest:{OLD}", False),
    (f"{NEW}\n{OLD}\ndigest2:{DIGEST}\ndigest:{OLD}", True),
    (f"{NEW}\ndigest2:{DIGEST}\ndigest:{OLD}", False),
]
PASSWORD = "a long password of a test"


async def test_a_rotation_loses_nothing(tmp_path: Path, redis_url: str) -> None:
    """In every step the opt-outs of every earlier step are found, API keys and sessions work, callbacks are ours."""
    key, token, webhook, opted_out, references = "", "", ("", ""), list[int](), list[str]()
    for step, (secret, redigests) in enumerate(STEPS):
        async with (
            open_api_gateway(tmp_path, redis_url, secret_key=secret) as gateway,
            serving(app_of(gateway)) as url,
            aiohttp.ClientSession() as session,
        ):
            signer, database = gateway.ledger.signer, gateway.ledger.database
            if not key:
                _, key = await gateway.ledger.keys.create("acme", "test", ["send", "read", "manage"], NOW)
                user = await gateway.ledger.users.add("acme", "Mei", "mei@example.com", Role.VIEWER, PASSWORD, NOW)
                token = await Sessions(database, signer).open(user, NOW)
                made = await gateway.webhooks.endpoints.create("acme", "https://example.com/hook", [])
                webhook = (made["id"], made["secret"])
            client = Client(session, url, key)
            await _opt_out(client, 10 + step)
            opted_out.append(10 + step)
            for each in opted_out:
                await _is_opted_out(client, each)
            references.append(signer.reference(f"dlv_{step}", 1))
            accepted = [signer.open_reference(each) is not None for each in references]
            retired = step == len(STEPS) - 1  # the old key no longer verifies
            assert accepted == [not retired or each >= 2 for each in range(step + 1)]
            assert (await Sessions(database, signer).find(token, NOW) is None) == retired
            assert signer.webhook_secret(webhook[0], 1, 1) == webhook[1]
            if redigests:
                assert (await Redigest(database).remaining()).total > 0
                await Redigest(database).run()
                assert await Redigest(database).remaining() == DigestsByVersion(0, 0, 0, 1)
                rotated = await gateway.webhooks.endpoints.rotate("acme", webhook[0])
                assert rotated is not None
                assert rotated["secret"] == signer.webhook_secret(webhook[0], 2, 2)
                assert (await Redigest(database).remaining()).webhooks == 0


async def _opt_out(client: Client, number: int) -> None:
    """One borrower by letter, for one address; one address as bounced; one address by its user."""
    out = {"channel": "sms", "address": f"+8869123456{number}", "source": "letter"}
    assert (await client.post(f"/v1/borrowers/B-{number}/opt-outs", out)).status == 201
    suppressed = {"channel": "email", "address": f"b{number}@example.com", "reason": "bounced"}
    assert (await client.post("/v1/suppressions", suppressed)).status == 200


async def _is_opted_out(client: Client, number: int) -> None:
    asked = request(number, route=["sms"])
    asked["borrower"]["addresses"]["sms"] = f"+8869123456{number}"
    decision = (await client.post("/v1/decisions", asked)).json
    assert (decision["verdict"], decision["reason"]) == ("suppress", "opted_out"), number
    by_mail = (await client.post("/v1/decisions", request(number, route=["email"]))).json
    assert (by_mail["verdict"], by_mail["reason"]) == ("suppress", "address_suppressed"), number


async def test_another_digest_key_does_not_start(tmp_path: Path, redis_url: str) -> None:
    """The remedy names the setting; with the key given back it starts again, and nothing was changed."""
    for secret in (OLD, f"{NEW}\ndigest:{OLD}"):
        async with open_api_gateway(tmp_path, redis_url, secret_key=secret):
            pass
    both = f"{OLD}\ndigest2:{NEW}\ndigest:{OLD}"
    async with open_api_gateway(tmp_path, redis_url, secret_key=both):
        pass
    for wrong in (NEW, OLD, f"{OLD}\ndigest:{NEW}", f"{NEW}\n{OLD}", f"{OLD}\ndigest:{NEW}\ndigest2:{OLD}"):
        with pytest.raises(CannotStart, match="GATEWAY_SECRET_KEY") as refused:
            async with open_api_gateway(tmp_path, redis_url, secret_key=wrong):
                pass
        assert OLD not in str(refused.value)
    async with open_api_gateway(tmp_path, redis_url, secret_key=both) as gateway:
        assert gateway.ledger.signer.key_checks() == Signer(both.encode()).key_checks()
