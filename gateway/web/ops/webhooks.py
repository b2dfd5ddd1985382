"""``/ops/webhooks``: the case systems' endpoints, what waits for each, and testing, enabling and replaying.

An endpoint is created and deleted by API or command line, where its secret is shown once. An address may have a
secret in its path or query, so that the pages show its host alone.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import GatewayClock, Uses
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.web.access import PageRoute, authenticated_form, message, pages_of, require_role
from gateway.web.ops.message_views import instants, when
from gateway.web.ops.page import ops_page
from gateway.web.ops.status import duration
from gateway.web.page import headers
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.tester import WebhookTester

_LOGGED = 50  # messages on a page; the API has them all

router = APIRouter(prefix="/ops/webhooks", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_webhooks(
    request: Request,
    endpoints: Uses[WebhookEndpoints],
    clock: Uses[GatewayClock],
    session: Session = Depends(require_role(Role.OPERATOR)),
) -> Response:
    """The endpoints, those whose messages wait longest first."""
    tenant, now = session.user.tenant, clock()
    waiting = {each.endpoint_id: each for each in await endpoints.waiting(tenant)}
    rows = [
        {
            **each,
            "host": urlsplit(each["url"]).netloc,
            "waiting": waiting[each["id"]].number if each["id"] in waiting else 0,
            "failures": waiting[each["id"]].failures if each["id"] in waiting else 0,
            "seconds": waiting[each["id"]].oldest_seconds(now) if each["id"] in waiting else 0.0,
        }
        for each in await endpoints.listed(tenant)
    ]
    rows.sort(key=lambda each: -each["seconds"])
    return ops_page(request, session, "ops_webhooks.html", {"rows": rows, "duration": duration})


@router.get("/{endpoint_id}")
async def show_webhook(
    request: Request,
    endpoint_id: str,
    endpoints: Uses[WebhookEndpoints],
    done: str = "",
    outcome: str = "",
    number: int = 0,
    session: Session = Depends(require_role(Role.OPERATOR)),
) -> Response:
    """One endpoint with its delivery log, the latest first."""
    tenant = session.user.tenant
    found = await endpoints.find(tenant, endpoint_id) if "\x00" not in endpoint_id else None
    if found is None:
        return await message(request, 404, "nothing_here")
    t = pages_of(request).texts(request)
    log = await endpoints.log(tenant, endpoint_id, None, _LOGGED, None)
    values = {
        "endpoint": {**found, "host": urlsplit(found["url"]).netloc, "created_at": when(t, found["created_at"])},
        "log": instants(t, log, "created_at", "attempted_at", "next_attempt_at"),
        "done": done,
        "outcome": outcome,
        "number": number,
    }
    return ops_page(request, session, "ops_webhook.html", values)


@router.post("/{endpoint_id}/{act}")
async def change_webhook(
    request: Request,
    endpoint_id: str,
    act: Literal["test", "enable", "replay"],
    endpoints: Uses[WebhookEndpoints],
    tester: Uses[WebhookTester],
) -> Response:
    """Send a test message now, enable an endpoint that was gone, or send what failed again."""
    session, _ = await authenticated_form(request, Role.OPERATOR)
    tenant, query = session.user.tenant, ""
    if "\x00" in endpoint_id or await endpoints.find(tenant, endpoint_id) is None:
        return await message(request, 404, "nothing_here")
    if act == "test":
        sent = await tester.send(tenant, endpoint_id)
        tested = await endpoints.message(endpoint_id, sent) if sent else None
        query = f"&outcome={tested['outcome'] if tested else ''}"
    elif act == "enable":
        await endpoints.enable(tenant, endpoint_id)
    else:
        query = f"&number={await endpoints.replay(tenant, endpoint_id, failed=True) or 0}"
    return RedirectResponse(f"/ops/webhooks/{endpoint_id}?done={act}{query}", 303, headers())
