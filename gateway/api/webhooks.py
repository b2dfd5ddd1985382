"""Webhook endpoints of case systems: create and delete, the delivery log, test messages and replay."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Managing, Reading
from gateway.api.http.openapi import body
from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.fields import Identifier
from gateway.api.requests.webhooks import ReplayIn, WebhookEndpointIn
from gateway.api.responses.webhooks import (
    ReplayedOut,
    WebhookEndpointListOut,
    WebhookEndpointOut,
    WebhookMessageListOut,
    WebhookMessageOut,
    WebhookSecretOut,
)
from gateway.core.requests import FieldError
from gateway.core.suggestions import did_you_mean
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.guard import Guard
from gateway.webhooks.tester import WebhookTester
from gateway.webhooks.types import TYPES

router = APIRouter(prefix="/v1/webhook-endpoints", tags=["webhooks"])


@router.get("", response_model=WebhookEndpointListOut)
async def list_webhook_endpoints(who: Reading, endpoints: Uses[WebhookEndpoints]) -> Response:
    """The endpoints, without their secrets."""
    return bodies.answer({"webhook_endpoints": await endpoints.listed(who.tenant)})


@router.post("", response_model=WebhookSecretOut, status_code=201, openapi_extra=body(WebhookEndpointIn))
async def create_webhook_endpoint(
    request: Request, who: Managing, endpoints: Uses[WebhookEndpoints], guard: Uses[Guard]
) -> Response:
    """A new endpoint; the answer has its secret, which is not shown again."""
    given = await bodies.read_model(request, WebhookEndpointIn)
    errors = [FieldError("/url", wrong)] if (wrong := guard.wrong_url(given.url)) else []
    remedy = f"there is no such type; there are {', '.join(TYPES)}"
    errors += [
        FieldError(f"/types/{at}", remedy + did_you_mean(each, TYPES))
        for at, each in enumerate(given.types)
        if each not in TYPES
    ]
    if errors:
        raise Problem("invalid_request", errors=errors)
    return bodies.answer(await endpoints.create(who.tenant, given.url, given.types), 201)


@router.get("/{endpoint_id}", response_model=WebhookEndpointOut)
async def get_webhook_endpoint(who: Reading, endpoint_id: Identifier, endpoints: Uses[WebhookEndpoints]) -> Response:
    """One endpoint, without its secret."""
    return bodies.answer(_found(await endpoints.find(who.tenant, endpoint_id)))


@router.delete("/{endpoint_id}", status_code=204)
async def delete_webhook_endpoint(
    who: Managing, endpoint_id: Identifier, endpoints: Uses[WebhookEndpoints]
) -> Response:
    """Delete this webhook with its delivery log."""
    if not await endpoints.delete(who.tenant, endpoint_id):
        raise Problem("not_found")
    return Response(status_code=204)


@router.post("/{endpoint_id}/rotate", response_model=WebhookSecretOut)
async def rotate_webhook_secret(who: Managing, endpoint_id: Identifier, endpoints: Uses[WebhookEndpoints]) -> Response:
    """A new secret. For a day messages are signed with both, so that none is refused while it is changed."""
    return bodies.answer(_found(await endpoints.rotate(who.tenant, endpoint_id)))


@router.post("/{endpoint_id}/enable", response_model=WebhookEndpointOut)
async def enable_webhook_endpoint(
    who: Managing, endpoint_id: Identifier, endpoints: Uses[WebhookEndpoints]
) -> Response:
    """Enable an endpoint that was disabled because it answered 410 Gone; it gets the messages that it missed, too."""
    return bodies.answer(_found(await endpoints.enable(who.tenant, endpoint_id)))


@router.post("/{endpoint_id}/test", response_model=WebhookMessageOut)
async def test_webhook_endpoint(
    who: Managing, endpoint_id: Identifier, endpoints: Uses[WebhookEndpoints], tester: Uses[WebhookTester]
) -> Response:
    """Send one signed message of the type webhook_endpoint.test now, whatever its types; how that went.

    It stands in the delivery log as well, and is not sent again.
    """
    sent = await tester.send(who.tenant, endpoint_id)
    return bodies.answer(_shown(_found(await endpoints.message(endpoint_id, sent) if sent else None)))


@router.get("/{endpoint_id}/messages", response_model=WebhookMessageListOut)
async def list_webhook_messages(
    request: Request,
    who: Reading,
    endpoint_id: Identifier,
    endpoints: Uses[WebhookEndpoints],
    state: Literal["pending", "delivered", "failed"] | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """The delivery log of the last thirty days, the latest first: each message, its attempts and the last answer."""
    _found(await endpoints.find(who.tenant, endpoint_id))
    before = cursors.decode(cursor, r"[0-9]{1,18}")
    found = await endpoints.log(who.tenant, endpoint_id, state, limit + 1, int(before) if before else None)
    following = cursors.encode(found[limit - 1]["sequence"]) if len(found) > limit else None
    messages = [_shown(each) for each in found[:limit]]
    return bodies.answer({"messages": messages, "next_cursor": following}, headers=cursors.link(request, following))


@router.post("/{endpoint_id}/replay", response_model=ReplayedOut, openapi_extra=body(ReplayIn))
async def replay_webhook_messages(
    request: Request, who: Managing, endpoint_id: Identifier, endpoints: Uses[WebhookEndpoints]
) -> Response:
    """Send messages again, under the same ids, by which the endpoint can ignore those that it has."""
    given = await bodies.read_model(request, ReplayIn)
    if given.all and not given.ids and given.since is None:
        error = FieldError("/all", "needs ids or since: say what is to be told again")
        raise Problem("invalid_request", errors=[error])
    number = await endpoints.replay(
        who.tenant, endpoint_id, ids=given.ids, since=given.since, failed=not given.all and not given.ids
    )
    if number is None:
        raise Problem("not_found")
    return bodies.answer({"id": endpoint_id, "replayed": number})


def _shown(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "body": json.loads(message["body"])}


def _found(endpoint: dict[str, Any] | None) -> dict[str, Any]:
    if endpoint is None:
        raise Problem("not_found")
    return endpoint
