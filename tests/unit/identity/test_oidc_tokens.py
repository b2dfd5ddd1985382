"""ID tokens from a hostile or broken provider: each that is not exactly ours is refused, and none is an error."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pydantic import ValidationError

from gateway.identity.oidc import OidcProvider, OidcRefused, OidcSettings
from gateway.identity.users import Role
from tests.support.production import free_port

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
OTHER = RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"})


@asynccontextmanager
async def provider(keys: list[RSAKey], **changes: Any) -> AsyncIterator[tuple[OidcProvider, dict[str, Any]]]:
    """A provider's documents, with ``keys`` as its key set, which the caller may change."""
    port, asked = free_port(), {"jwks": 0}
    issuer = f"http://127.0.0.1:{port}"

    async def discovery(_: web.Request) -> web.Response:
        endpoints = {name: f"{issuer}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
        return web.json_response({"issuer": issuer, **endpoints, **changes})

    async def jwks(_: web.Request) -> web.Response:
        asked["jwks"] += 1
        return web.json_response({"keys": [each.as_dict(private=False) for each in keys]})

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/jwks_uri", jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    settings = OidcSettings(issuer=issuer, client_id="gateway", roles={"e": Role.EDITOR}, tenant="acme")
    clock = {"now": 0.0}
    try:
        yield OidcProvider(settings, lambda: clock["now"]), {"asked": asked, "clock": clock}
    finally:
        await runner.cleanup()


def claims(made: OidcProvider, **changes: Any) -> dict[str, Any]:
    at = int(NOW.timestamp())
    right = {"iss": made.settings.issuer, "sub": "mei", "aud": "gateway", "nonce": "n", "iat": at, "exp": at + 600}
    return {name: value for name, value in {**right, **changes}.items() if value is not None}


def signed(given: Mapping[str, Any], key: RSAKey = KEY, **header: Any) -> str:
    return jwt.encode({"alg": "RS256", "kid": key.kid, **header}, dict(given), key)


async def refused(made: OidcProvider, token: str, nonce: str = "n") -> str:
    with pytest.raises(OidcRefused) as why:
        await made.verify(token, nonce, NOW)
    return why.value.key


async def test_the_right_token_is_accepted() -> None:
    """So that what follows is refused for what it changes."""
    async with provider([KEY]) as (made, _):
        assert (await made.verify(signed(claims(made)), "n", NOW))["sub"] == "mei"
        two = claims(made, aud=["gateway", "other"], azp="gateway")
        assert (await made.verify(signed(two), "n", NOW))["sub"] == "mei"


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": ["gateway", "other"], "azp": "other"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": int((NOW - timedelta(minutes=5)).timestamp())},
        {"exp": None},
        {"exp": "never"},
        {"iat": int((NOW + timedelta(hours=1)).timestamp())},
        {"nbf": int((NOW + timedelta(hours=1)).timestamp())},
        {"sub": None},
    ],
)
async def test_a_claim_that_is_wrong_or_missing_is_refused(change: dict[str, Any]) -> None:
    """Nonce, audience, authorized party, issuer, times, subject."""
    async with provider([KEY]) as (made, _):
        assert await refused(made, signed(claims(made, **change))) == "oidc_refused"


async def test_a_signature_that_is_none_of_the_providers_is_refused() -> None:
    """alg none, a MAC by the public key or by our own secret, another key of that name, text that is no token."""
    async with provider([KEY]) as (made, _):
        right = claims(made)
        body = base64.urlsafe_b64encode(json.dumps(right).encode()).decode().rstrip("=")
        head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
        public = OctKey.import_key(KEY.as_pem(private=False).decode().replace("-----", "").encode())
        secret = OctKey.import_key("a-client-secret-of-the-tests-0123456789")
        impostor = RSAKey.generate_key(2048, {"kid": "one"})
        macs = [jwt.encode({"alg": "HS256", "kid": "one"}, right, each) for each in (public, secret)]
        forged = [f"{head}.{body}.", f"{head}.{body}.x", *macs, signed(right, impostor), signed(right, OTHER)]
        for token in (*forged, "", "a.b.c", "x" * 50_000, signed(right)[:-4]):
            assert await refused(made, token) == "oidc_refused", token[:60]


async def test_an_unknown_key_makes_us_ask_again_and_no_flood() -> None:
    """A rotated key is found at once; made-up names of keys make one request in ten seconds."""
    keys = [KEY]
    async with provider(keys) as (made, seen):
        await made.verify(signed(claims(made)), "n", NOW)
        assert seen["asked"]["jwks"] == 1
        keys[:] = [OTHER]
        assert (await made.verify(signed(claims(made), OTHER), "n", NOW))["sub"] == "mei"
        assert seen["asked"]["jwks"] == 2
        for number in range(5):
            stranger = RSAKey.generate_key(2048, {"kid": f"made-up-{number}"})
            assert await refused(made, signed(claims(made), stranger)) == "oidc_refused"
        assert seen["asked"]["jwks"] == 2
        seen["clock"]["now"] = 11.0
        assert await refused(made, signed(claims(made), KEY)) == "oidc_refused"  # taken out by the provider
        assert seen["asked"]["jwks"] == 3


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": None, "jwks_uri": None},
        {"jwks_uri": "http://127.0.0.1:9/"},
    ],
)
async def test_documents_of_another_or_broken_provider_are_refused(document: dict[str, Any]) -> None:
    """Another issuer, no endpoints, keys that can't be reached."""
    async with provider([KEY], **document) as (made, _):
        assert await refused(made, signed(claims(made))) == "oidc_unavailable"


@pytest.mark.parametrize("issuer", ["http://login.example.com", "https://", "login.example.com", "https://x/?a=b"])
def test_an_issuer_without_tls_is_no_setting(issuer: str) -> None:
    """But for loopback."""
    with pytest.raises(ValidationError, match=r"oidc\.issuer|https"):
        OidcSettings(issuer=issuer, client_id="gateway", roles={"e": Role.EDITOR}, tenant="acme")


@pytest.mark.parametrize(
    "tenants", [{}, {"tenant_claim": "t"}, {"tenant": "a", "tenant_claim": "t", "tenants": {"x": "a"}}, {"tenants": {}}]
)
def test_who_is_of_which_tenant_is_never_left_open(tenants: dict[str, Any]) -> None:
    """Everybody of one, or each by a claim whose values are listed."""
    with pytest.raises(ValidationError, match="tenant"):
        OidcSettings(issuer="https://login.example.com", client_id="gateway", roles={"e": Role.EDITOR}, **tenants)
