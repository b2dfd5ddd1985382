"""Sign-in and sign-out. The answer and the duration of a failure do not reveal whether the user exists."""

from __future__ import annotations

import math
import secrets

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import GatewayClock, Uses, part
from gateway.core.security.signing import Signer
from gateway.identity.oidc_users import OidcSignIn
from gateway.identity.sessions import ABSOLUTE, Attempts, Sessions
from gateway.identity.users import Role, Users
from gateway.web.access import (
    NotAllowed,
    PageRoute,
    authenticated_form,
    client_network,
    cookie_name,
    is_https,
    pages_of,
    read_form,
    safe_back_path,
    session_of,
)
from gateway.web.page import headers

_VISIT = "gateway_visit"  # identifies a browser before the sign-in, for the form token
_VISIT_BYTES = 16
_DEVICE = "gateway_device"  # marks a browser with an earlier sign-in, for counting failures
_DEVICE_SECONDS = 180 * 86_400  # our choice

router = APIRouter(prefix="/editor", route_class=PageRoute, include_in_schema=False)


@router.get("/sign-in")
async def show_sign_in(request: Request, back: str = "/editor") -> Response:
    if await session_of(request) is not None:
        return RedirectResponse(safe_back_path(back), 303, headers())
    return _form(request, safe_back_path(back))


@router.post("/sign-in")
async def sign_in(
    request: Request,
    users: Uses[Users],
    sessions: Uses[Sessions],
    attempts: Uses[Attempts],
    signer: Uses[Signer],
    clock: Uses[GatewayClock],
    ways: Uses[OidcSignIn],
) -> Response:
    form = await read_form(request)
    if not ways.passwords:
        raise NotAllowed("passwords_off")
    visit, token = request.cookies.get(_VISIT, ""), form.get("form_token", "")
    if not visit or not signer.is_form_token(visit, token):
        raise NotAllowed("form_foreign")
    email, back = form.get("email", ""), safe_back_path(form.get("back", "/editor"))
    source, now = client_network(request), clock()
    device = request.cookies.get(_DEVICE, "")
    wait = await attempts.begin(email, source, now, device)
    if wait:
        return _form(request, back, email, wait_seconds=math.ceil(wait.total_seconds()))
    user = await users.check(email, form.get("password", ""))
    if user is None:
        return _form(request, back, email, wrong=True)
    await attempts.succeeded(email, source, device)
    answer = RedirectResponse(back, 303, headers())
    answer.set_cookie(
        _DEVICE,
        attempts.device(email),
        max_age=_DEVICE_SECONDS,
        httponly=True,
        samesite="lax",
        secure=is_https(request),
    )
    set_session(request, answer, await sessions.open(user, now))
    return answer


def set_session(request: Request, answer: Response, token: str) -> None:
    """The cookie of a new session."""
    answer.set_cookie(
        cookie_name(request),
        token,
        max_age=int(ABSOLUTE.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=is_https(request),
    )


@router.post("/sign-out")
async def sign_out(request: Request, sessions: Uses[Sessions]) -> Response:
    session, _ = await authenticated_form(request, Role.VIEWER)
    await sessions.close(session)
    ways = part(request, OidcSignIn)
    # A page with a link, and no redirect to the provider: the content security policy forbids a form to lead elsewhere.
    answer = RedirectResponse("/editor/signed-out" if ways.provider else "/editor/sign-in", 303, headers())
    answer.delete_cookie(cookie_name(request), httponly=True, samesite="lax", secure=is_https(request))
    return answer


def _form(request: Request, back: str, email: str = "", *, wrong: bool = False, wait_seconds: int = 0) -> Response:
    ways = part(request, OidcSignIn)
    visit = request.cookies.get(_VISIT) or secrets.token_urlsafe(_VISIT_BYTES)
    values = {
        "session": None,
        "back": back,
        "email": email,
        "wrong": wrong,
        "wait_seconds": wait_seconds,
        "passwords": ways.passwords,
        "provider": ways.provider.settings.name if ways.provider else "",
        "form_token": part(request, Signer).form_token(visit),
    }
    answer = pages_of(request).respond(request, "sign_in.html", values, 429 if wait_seconds else 403 if wrong else 200)
    if wait_seconds:
        answer.headers["Retry-After"] = str(wait_seconds)
    answer.set_cookie(_VISIT, visit, httponly=True, samesite="lax", secure=is_https(request))
    return answer
