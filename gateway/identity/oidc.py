"""Sign-in by OpenID Connect: the provider's documents, the authorization code with PKCE, and the checks of an ID token.

OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0; RFC 7636 (PKCE), RFC 9207 (the issuer in the answer).
Who that is here, and with which role, is in oidc_users.py. Tokens are used once and kept nowhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from gateway.core.bounded.read import read_at_most
from gateway.identity.users import Role

if TYPE_CHECKING:
    # Imported where a provider is called: every command reads the settings below, and few call one.
    pass

# Asymmetric signatures only (RFC 7518 section 3.1; EdDSA: RFC 8037): neither "none", nor a MAC by our own secret.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_SECONDS = 10.0  # our choice, for each request to the provider
_MOST_BYTES = 262_144  # our choice: documents of providers have some 10 kB
_FRESH_SECONDS = 3600.0  # our choice: how long discovery and keys are kept
_KEYS_EVERY = 10.0  # our choice: how often unknown keys may make us ask for them, whoever sends such tokens
_LEEWAY_SECONDS = 60  # our choice: clocks of two companies
_NAME = "OpenID Connect"


class OidcSettings(BaseModel):
    """How people sign in by a provider. Names of claims may have dots for claims within claims."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = SecretStr("")  # empty: a public client
    scopes: str = "openid profile email"
    roles_claim: str = "roles"
    # Value of the claim → role here. The first of approver, compliance, supervisor, platform, editor, agent,
    # viewer that is found counts.
    roles: Mapping[str, Role] = Field(min_length=1)
    tenant_claim: str = ""  # empty: everybody is of ``tenant``
    tenants: Mapping[str, str] = Field(default_factory=dict)  # value of the claim → tenant here
    tenant: str = ""
    passwords: bool = True  # whether people may sign in with passwords as well
    session_minutes: int = Field(60, ge=1, le=720)  # after that the provider is asked again: it may know them no more
    label: str = Field("", max_length=40)  # what the button says; empty: the issuer's host

    @field_validator("issuer")
    @classmethod
    def _is_https(cls, value: str) -> str:
        parts = urlsplit(value)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.query or parts.fragment or not parts.hostname or not (parts.scheme == "https" or local):
            raise ValueError("oidc.issuer must be an https:// address without query and fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _has_tenants(self) -> OidcSettings:
        if bool(self.tenant_claim) == bool(self.tenant) or bool(self.tenant_claim) != bool(self.tenants):
            raise ValueError("oidc needs either tenant, for everybody, or tenant_claim and tenants")
        return self

    @property
    def name(self) -> str:
        return self.label or urlsplit(self.issuer).hostname or _NAME


class OidcRefused(Exception):
    """The sign-in is refused. ``key`` is the page's text; nothing of a token is in it."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """What is remembered between the request to the provider and its answer."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    back: str


class OidcProvider:
    """The provider as its discovery document describes it. One for each process."""

    def __init__(self, settings: OidcSettings, elapsed: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._elapsed = elapsed
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, Any] | None = None
        self._asked_again_at = float("-inf")
        self._lock = asyncio.Lock()

    async def metadata(self) -> Mapping[str, Any]:
        """The discovery document. Raises OidcRefused: unreachable, another issuer's, or without what is needed."""
        from authlib.oidc.discovery import get_well_known_url

        async with self._lock:
            if self._metadata is not None and self._elapsed() - self._metadata[0] < _FRESH_SECONDS:
                return self._metadata[1]
            document = await self._get(get_well_known_url(self.settings.issuer, external=True))
            if str(document.get("issuer", "")).rstrip("/") != self.settings.issuer:
                raise OidcRefused("oidc_unavailable")
            try:
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    self._check_endpoint(str(document[name]))
            except (KeyError, ValueError):
                raise OidcRefused("oidc_unavailable") from None
            self._metadata = (self._elapsed(), document)
            return document

    async def authorization_url(self, pending: PendingSignIn, redirect_uri: str) -> str:
        """Where the browser goes. Raises OidcRefused."""
        endpoint = str((await self.metadata())["authorization_endpoint"])
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": _s256(pending.verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    async def end_session_url(self, back: str) -> str | None:
        """Where the browser ends the session at the provider; None where that has no such page, or is away."""
        try:
            endpoint = str((await self.metadata()).get("end_session_endpoint") or "")
        except OidcRefused:
            return None
        asked = urlencode({"client_id": self.settings.client_id, "post_logout_redirect_uri": back})
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{asked}" if endpoint else None

    async def claims(self, code: str, pending: PendingSignIn, redirect_uri: str, now: datetime) -> Mapping[str, Any]:
        """Redeem the code; the claims of the ID token that came for it. Raises OidcRefused."""
        metadata, secret = await self.metadata(), self.settings.client_secret.get_secret_value()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
        }
        offered = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        headers = {}
        if secret and "client_secret_basic" in offered:
            import aiohttp

            # Both are form-encoded first (RFC 6749 section 2.3.1).
            headers["Authorization"] = aiohttp.encode_basic_auth(
                quote_plus(self.settings.client_id), quote_plus(secret)
            )
        else:
            form |= {"client_id": self.settings.client_id, **({"client_secret": secret} if secret else {})}
        answer = await self._request("POST", str(metadata["token_endpoint"]), data=form, headers=headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise OidcRefused("oidc_refused")
        return await self.verify(token, pending.nonce, now, str(answer.get("access_token") or ""))

    async def verify(self, token: str, nonce: str, now: datetime, access_token: str = "") -> Mapping[str, Any]:
        """The claims of an ID token with the right signature, issuer, audience, times and nonce. Raises OidcRefused."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        for asked_again in (False, True):
            try:
                decoded = jwt.decode(token, await self._key_set(again=asked_again), algorithms=list(_ALGORITHMS))
                break
            except InvalidKeyIdError:  # the provider has changed its keys
                if asked_again:
                    raise OidcRefused("oidc_refused") from None
            except (JoseError, ValueError, TypeError, KeyError):
                raise OidcRefused("oidc_refused") from None
        options = {
            "iss": {"essential": True, "values": [self.settings.issuer, f"{self.settings.issuer}/"]},
            "aud": {"essential": True, "value": self.settings.client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        params = {"nonce": nonce, "client_id": self.settings.client_id, "access_token": access_token}
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        try:
            claims.validate(int(now.timestamp()), _LEEWAY_SECONDS)
        except Exception as error:  # of several families in the library; none of them means that the token is right
            raise OidcRefused("oidc_refused") from error
        return dict(claims)

    async def _key_set(self, *, again: bool) -> Any:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        metadata = await self.metadata()
        async with self._lock:
            now = self._elapsed()
            again = again and now - self._asked_again_at > _KEYS_EVERY
            if self._keys is None or again or now - self._keys[0] > _FRESH_SECONDS:
                self._asked_again_at = now if again else self._asked_again_at
                document = await self._get(str(metadata["jwks_uri"]))
                try:
                    self._keys = (now, KeySet.import_key_set(document))  # type: ignore[arg-type]
                except (JoseError, ValueError, KeyError, TypeError):
                    raise OidcRefused("oidc_unavailable") from None
            return self._keys[1]

    def _check_endpoint(self, url: str) -> None:
        """No request goes in the clear where the issuer is called over TLS."""
        if urlsplit(self.settings.issuer).scheme == "https" and urlsplit(url).scheme != "https":
            raise ValueError("an endpoint without TLS")

    async def _get(self, url: str) -> dict[str, Any]:
        return await self._request("GET", url)

    async def _request(self, method: str, url: str, **given: Any) -> dict[str, Any]:
        """The JSON object of an answer. Redirects are not followed: they could lead elsewhere."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.request(method, url, allow_redirects=False, **given) as response,
            ):
                body = await read_at_most(response.content.iter_any(), _MOST_BYTES)
                if 400 <= response.status < 500 and method == "POST":
                    raise OidcRefused("oidc_refused")  # an unknown code, or one that was redeemed before
                if response.status != 200:
                    raise OidcRefused("oidc_unavailable")
                found = json.loads(body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise OidcRefused("oidc_unavailable") from None
        if not isinstance(found, dict):
            raise OidcRefused("oidc_unavailable")
        return found


def _s256(verifier: str) -> str:
    """The code challenge of RFC 7636 section 4.2."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
