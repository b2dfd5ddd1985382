"""Providers' callbacks: receipts, and borrowers' replies. Many, so there is nothing here but the hand-over.

Anybody can send one, so an unknown provider, a body that is too large and a form of too many fields are refused before
anything is parsed; a provider refuses what has no signature before it parses the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.routing import Route

from channels.base import BadSignature, CallbackRequest, MalformedCallback, Provider, ReadsEvents
from gateway.api.http import bodies
from gateway.api.http.parts import ConfiguredChannels, HttpSettings, Uses, part
from gateway.api.http.problems import Problem
from gateway.observability.metrics import Metrics
from gateway.receiving import CallbackReceiver

router = APIRouter(prefix="/v1", tags=["callbacks"])

_MOST_FIELDS = 200  # of a form; our choice: Twilio's webhooks have some 30


# Twilio's: as a receipt, and as a reply.
_EXAMPLE = {
    "AccountSid": "AC" + "0" * 32,
    "MessageSid": "SM" + "0" * 32,
    "MessageStatus": "delivered",
    "From": "+886912345678",
    "To": "+15005550006",
    "Body": "STOP",
}
# What both are sent: a body in the provider's own form, for a provider of the gateway's configuration.
_CALLBACK: dict[str, Any] = {
    "parameters": [
        {"name": "provider", "in": "path", "required": True, "schema": {"type": "string"}, "example": "twilio"}
    ],
    "requestBody": {
        "required": True,
        "description": "As the provider documents it, with its signature.",
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "additionalProperties": True},
                "example": _EXAMPLE,
            },
            "application/json": {"schema": {}},
        },
    },
}


_SECRET = {"name": "secret", "in": "path", "required": True, "schema": {"type": "string"}, "example": "a-secret"}
_WITH_SECRET: dict[str, Any] = {"parameters": [*_CALLBACK["parameters"], _SECRET]}
_BAD_SIGNATURE: dict[int | str, Any] = {403: {"description": ""}}


@router.post("/receipts/{provider}", status_code=204, responses=_BAD_SIGNATURE, openapi_extra=_CALLBACK)
async def receive_receipts(request: Request) -> Response:
    """Take a provider's word on messages. Repeated, late and unmatched ones are taken as well: it has done its part.

    503 with Retry-After when nothing could be stored, so that the provider comes back.
    """
    with _refusing(request) as provider:
        found, receiver = part(request, ConfiguredChannels).providers[provider], part(request, CallbackReceiver)
        callback = await _callback(request, found)
        if _reads_events(type(found)):
            return _acknowledged(*await receiver.receive_events(provider, callback))
        if callback.secret:
            raise KeyError(provider)  # its callbacks are signed, so that no path has a secret
        await receiver.receive(provider, callback)
    return Response(status_code=204)


@router.post(
    "/receipts/{provider}/{secret}",
    status_code=204,
    responses=_BAD_SIGNATURE,
    openapi_extra={**_CALLBACK, **_WITH_SECRET},
)
async def receive_unsigned_receipts(request: Request) -> Response:
    """As without the secret, for providers that sign nothing: the path proves that the provider was given it."""
    return await receive_receipts(request)


@router.get(
    "/receipts/{provider}",
    status_code=204,
    responses=_BAD_SIGNATURE,
    name="verify_callback_address",
    openapi_extra={"parameters": _CALLBACK["parameters"]},
)
@router.get(
    "/receipts/{provider}/{secret}",
    status_code=204,
    responses=_BAD_SIGNATURE,
    name="verify_secret_address",
    openapi_extra=_WITH_SECRET,
)
async def verify(request: Request) -> Response:
    """Answer a provider that checks the address before it uses it (a challenge to be repeated, signed or not)."""
    with _refusing(request) as provider:
        callback = await _callback(request, part(request, ConfiguredChannels).providers[provider])
        return _acknowledged(*await part(request, CallbackReceiver).receive_events(provider, callback))


@lru_cache  # looking for a protocol's methods takes longer than routing the callback
def _reads_events(kind: type[Provider]) -> bool:
    return issubclass(kind, ReadsEvents)


def _acknowledged(body: bytes, media_type: str) -> Response:
    return Response(body, media_type=media_type) if body else Response(status_code=204)


FAST = (
    Route(f"{router.prefix}/receipts/{{provider}}", receive_receipts, methods=["POST"]),
    Route(f"{router.prefix}/receipts/{{provider}}/{{secret}}", receive_receipts, methods=["POST"]),
)


@router.post(
    "/inbound/{provider}",
    responses={
        **_BAD_SIGNATURE,
        200: {"description": "In the provider's own form.", "content": {"*/*": {"schema": {}}}},
    },
    response_class=Response,
    openapi_extra=_CALLBACK,
)
async def receive_replies(request: Request, receiver: Uses[CallbackReceiver]) -> Response:
    """Take what borrowers wrote back; a stop is in force when this answers.

    The answer is in the provider's own form, and may carry one message to the borrower.
    """
    with _refusing(request) as provider:
        callback = await _callback(request, part(request, ConfiguredChannels).providers[provider])
        content, media_type = await receiver.reply(provider, callback)
    return Response(content, media_type=media_type)


@contextmanager
def _refusing(request: Request) -> Iterator[str]:
    """The provider of the address; what can't be taken is answered as a problem, and counted."""
    provider = request.path_params["provider"]
    try:
        yield provider
    except KeyError:
        raise Problem("not_found", "There is no provider of this name, or it takes no replies.") from None
    except BadSignature:
        part(request, Metrics).callback_refused(provider, "bad_signature")
        raise Problem("bad_signature") from None
    except MalformedCallback:
        part(request, Metrics).callback_refused(provider, "malformed")
        raise Problem("malformed_callback") from None
    except Problem as problem:
        part(request, Metrics).callback_refused(provider, problem.kind)
        raise


async def _callback(request: Request, provider: Provider) -> CallbackRequest:
    """The callback as it came. Raises Problem 413, MalformedCallback."""
    body = await bodies.read(request, provider.capability.callback_bytes)
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if is_form and body.count(b"&") >= _MOST_FIELDS:
        raise MalformedCallback("number of fields")
    public_url = part(request, HttpSettings).public_url
    # The signature covers the address as the provider sees it: before any proxy, and still percent-encoded.
    path = request.scope.get("raw_path", b"").decode("ascii", "replace") or request.url.path
    query = request.scope["query_string"].decode("ascii", "replace")
    return CallbackRequest(
        url=f"{public_url}{path}?{query}" if query else f"{public_url}{path}",
        headers={name.lower(): value for name, value in request.headers.items()},
        query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        body=body,
        method=request.method,
        secret=request.path_params.get("secret", ""),
    )
