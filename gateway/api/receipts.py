"""Providers' callbacks. As many as messages are sent, so there is nothing here but the hand-over."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from channels.base import BadSignature, CallbackRequest, MalformedCallback
from gateway.api import bodies
from gateway.api.context import gateway_of
from gateway.api.problems import Problem

router = APIRouter(prefix="/v1/receipts", tags=["receipts"])


@router.post("/{provider}", status_code=204)
async def receive(request: Request) -> Response:
    """Take a provider's word on messages. Repeated, late and unmatched ones are taken as well: it has done its part.

    503 with Retry-After when nothing could be stored, so that the provider comes back.
    """
    gateway = gateway_of(request)
    provider = request.path_params["provider"]
    if provider not in gateway.providers:
        raise Problem("not_found", "There is no provider of this name.")
    try:
        await gateway.pipeline.receive(provider, await _callback(request, gateway.settings.effective_public_url))
    except BadSignature:
        gateway.metrics.callback_refused(provider, "bad_signature")
        raise Problem("bad_signature") from None
    except MalformedCallback:
        gateway.metrics.callback_refused(provider, "malformed")
        raise Problem("malformed_callback") from None
    return Response(status_code=204)


async def _callback(request: Request, public_url: str) -> CallbackRequest:
    # The signature covers the address as the provider sees it: before any proxy, and still percent-encoded.
    path = request.scope.get("raw_path", b"").decode("ascii", "replace") or request.url.path
    query = request.scope["query_string"].decode("ascii", "replace")
    return CallbackRequest(
        url=f"{public_url}{path}?{query}" if query else f"{public_url}{path}",
        headers={name.lower(): value for name, value in request.headers.items()},
        query=dict(request.query_params),
        body=await bodies.read(request),
    )
