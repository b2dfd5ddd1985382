"""Checks the providers, and the gateway's public address."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from importlib.util import find_spec
from urllib.parse import urlsplit

import aiohttp

from channels import registry
from channels.base import Checks, Provider, SendFailure
from gateway.app.embedded.errors import CannotStart
from gateway.app.providers import build_provider
from gateway.app.settings import Settings
from gateway.cli.doctor.finding import CheckResult, Level, error, ok, skipped, warning
from gateway.core.clock import Clock
from gateway.core.security.signing import Signer

_SECONDS = 10.0
_TENANT, _BORROWER = "gateway-doctor", "nobody"  # a borrower without messages, whose feed is requested


async def providers(settings: Settings, clock: Clock) -> list[CheckResult]:
    """Check that providers are reachable and accept the credentials, where they have a check. Sends nothing."""
    channels = registry.discover()
    # No message is put into the feed, so a placeholder is enough.
    services = {"clock": clock, "inbox": object()}
    found: list[CheckResult] = []
    built: dict[str, Provider] = {}
    for entry in settings.providers:
        try:
            built[str(entry["name"])] = build_provider(channels, entry, services)
        except CannotStart as broken:
            remedy = "mend it in GATEWAY_PROVIDERS; the options stand at from_options of its class in channels/"
            found.append(error(f"provider.{entry['name']}", str(broken), remedy))
    asked = await asyncio.gather(*(_provider(name, each) for name, each in built.items()))
    return found + [finding for each in asked for finding in each]


async def _provider(name: str, provider: Provider) -> list[CheckResult]:
    check = f"provider.{name}"
    if not isinstance(provider, Checks):
        return [skipped(check, "it needs nothing from outside, or has no way to ask")]
    try:
        async with asyncio.timeout(_SECONDS):
            advice = await provider.check()
    except SendFailure as failure:
        remedy = (
            "check its credentials and options" if failure.reason == "provider_config" else "check host, port, network"
        )
        return [error(check, f"it refuses us or is not reachable: {failure}", f"{remedy} in GATEWAY_PROVIDERS")]
    except TimeoutError:
        return [error(check, f"no answer within {_SECONDS:g} s", "check host, port and network in GATEWAY_PROVIDERS")]
    finally:
        await provider.close()
    return [warning(check, each.what, each.remedy) for each in advice] or [ok(check, "reachable, and it knows us")]


async def public_url(settings: Settings, clock: Clock) -> list[CheckResult]:
    """Check that the public address leads to a gateway with this secret key, through all proxies."""
    if settings.embedded or not settings.public_url:
        return [skipped("public_url", "there is none to ask")]
    url = settings.effective_public_url
    host = urlsplit(url).hostname or ""
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return [error("public_url.dns", f"{host} has no address", "add it to the DNS, or mend GATEWAY_PUBLIC_URL")]
    try:
        signer = Signer(settings.key())
    except ValueError:
        return [skipped("public_url", "the secret key can't be used: see configuration.secret")]
    token = signer.borrower_token(_TENANT, _BORROWER, clock() + timedelta(minutes=1))
    try:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(f"{url}/v1/inbox", allow_redirects=False) as answer,
        ):
            found = _judge(answer.status, answer.content_type)
            return [found] if found.level is not Level.OK else [found, *await _callbacks(settings, session, url)]
    except aiohttp.ClientSSLError as broken:
        what = f"{url} has a certificate that clients refuse ({type(broken).__name__})"
        return [error("public_url.reachable", what, "renew it, with the whole chain")]
    except (aiohttp.ClientError, TimeoutError) as broken:
        what = f"{url} does not answer ({type(broken).__name__})"
        remedy = "start the API, open the way to it, or mend GATEWAY_PUBLIC_URL; from here it may differ from outside"
        return [error("public_url.reachable", what, remedy)]


async def _callbacks(settings: Settings, session: aiohttp.ClientSession, url: str) -> list[CheckResult]:
    """Post an unsigned callback to each provider's URL: a gateway that has the provider refuses it, and stores nothing.

    Raises aiohttp.ClientError, TimeoutError.
    """
    found = []
    for name in (str(each["name"]) for each in settings.providers):
        async with session.post(f"{url}/v1/receipts/{name}", data=b"", allow_redirects=False) as answer:
            if answer.status == 404:
                what = f"{url}/v1/receipts/{name} leads to a gateway without this provider: its callbacks would be lost"
                found.append(error(f"callback.{name}", what, "give all API processes the same GATEWAY_PROVIDERS"))
            elif answer.status >= 500:
                what = f"{url}/v1/receipts/{name} answers {answer.status}"
                found.append(error(f"callback.{name}", what, "see that gateway's log, and run the doctor there"))
            else:
                found.append(ok(f"callback.{name}", f"{url}/v1/receipts/{name} leads to this provider"))
    return found


def _judge(status: int, content_type: str) -> CheckResult:
    if status == 200 and content_type == "application/json":
        return ok("public_url", "it leads to a gateway with the same secret")
    if status == 401 and content_type == "application/problem+json":
        what = "it leads to a gateway with another GATEWAY_SECRET_KEY: callbacks' references would be refused there"
        return error("public_url.matching", what, "give all processes the same key")
    if 300 <= status < 400:
        what = "it redirects, and providers' POSTs don't follow"
        return error("public_url.matching", what, "set GATEWAY_PUBLIC_URL to the address that it redirects to")
    what = f"it leads to something else: {status} {content_type} for /v1/inbox"
    return error("public_url.matching", what, "have the proxy pass paths on unchanged, or mend GATEWAY_PUBLIC_URL")


async def sign_in(settings: Settings) -> list[CheckResult]:
    """Check the discovery document and the keys of the OpenID Connect provider, where there is one."""
    check = "sign_in.oidc"
    if settings.oidc is None:
        return [skipped(check, "people sign in with passwords")]
    remedy = "check GATEWAY_OIDC (issuer), and that this machine reaches the issuer over https"
    if not all(map(find_spec, ("authlib", "joserfc"))):
        return [error(check, "GATEWAY_OIDC is set, and the extra oidc is not installed", "pip install the extra: oidc")]
    from gateway.identity.oidc import OidcProvider, OidcRefused

    found = []
    try:
        metadata = await OidcProvider(settings.oidc).metadata()
    except OidcRefused:
        return [error(check, f"no usable discovery document at {settings.oidc.issuer}", remedy)]
    methods = metadata.get("code_challenge_methods_supported") or ()
    if "S256" not in methods:
        what = "the provider does not say that it knows PKCE with S256, so a stolen code may be redeemed"
        found.append(warning(check, what, "switch PKCE on for this client at the provider"))
    return found or [ok(check, f"{settings.oidc.issuer} answers, with PKCE")]
