"""Sign-in by OpenID Connect: to the provider, back with a code, and out. Refusals are pages."""

from __future__ import annotations

import hmac
from datetime import timedelta

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import GatewayClock, HttpSettings, Uses, part
from gateway.identity.oidc import OidcProvider, OidcRefused
from gateway.identity.oidc_users import OidcSignIn
from gateway.identity.sessions import Sessions
from gateway.web.access import NotAllowed, PageRoute, is_https, pages_of, safe_back_path
from gateway.web.page import headers
from gateway.web.sign_in import set_session

_PATH = "/editor/sign-in/provider"
_COOKIE = "gateway_sign_in"  # the state: only the browser that began a sign-in may end it
_COOKIE_SECONDS = 600
_LONGEST = 2_000  # characters of a code or state; our choice
_LONGEST_BACK = 1_000

router = APIRouter(prefix="/editor", route_class=PageRoute, include_in_schema=False)


def _provider(ways: OidcSignIn) -> OidcProvider:
    if ways.provider is None:
        raise NotAllowed("nothing_here")
    return ways.provider


@router.get("/sign-in/provider")
async def begin(request: Request, ways: Uses[OidcSignIn], clock: Uses[GatewayClock], back: str = "/editor") -> Response:
    """Lead the browser to the provider."""
    provider = _provider(ways)
    back = safe_back_path(back) if len(back) <= _LONGEST_BACK else "/editor"
    pending = await ways.users.begin(back, clock())
    try:
        url = await provider.authorization_url(pending, _redirect_uri(request))
    except OidcRefused as refused:
        raise NotAllowed(refused.key) from None
    answer = RedirectResponse(url, 303, headers())
    answer.set_cookie(
        _COOKIE,
        pending.state,
        max_age=_COOKIE_SECONDS,
        path=_PATH,
        httponly=True,
        samesite="lax",
        secure=is_https(request),
    )
    return answer


@router.get("/sign-in/provider/callback")
async def end(
    request: Request,
    ways: Uses[OidcSignIn],
    sessions: Uses[Sessions],
    clock: Uses[GatewayClock],
    code: str = "",
    state: str = "",
    iss: str = "",
    error: str = "",
) -> Response:
    """The provider's answer: once for each state, and in the browser that began it."""
    provider, known, now = _provider(ways), request.cookies.get(_COOKIE, ""), clock()
    if not known or len(state) > _LONGEST or not hmac.compare_digest(known.encode(), state.encode()):
        raise NotAllowed("oidc_stale")
    try:
        pending = await ways.users.end(state, now)
        if error or not code or len(code) > _LONGEST:
            raise OidcRefused("oidc_denied")
        if iss and iss.rstrip("/") != provider.settings.issuer:
            raise OidcRefused("oidc_refused")
        claims = await provider.claims(code, pending, _redirect_uri(request), now)
        user = await ways.users.user(provider.settings, claims, now)
    except OidcRefused as refused:
        raise NotAllowed(refused.key) from None
    answer = RedirectResponse(safe_back_path(pending.back), 303, headers())
    answer.delete_cookie(_COOKIE, path=_PATH, httponly=True, samesite="lax", secure=is_https(request))
    lasts = timedelta(minutes=provider.settings.session_minutes)
    set_session(request, answer, await sessions.open(user, now, lasts))
    return answer


@router.get("/signed-out")
async def signed_out(request: Request, ways: Uses[OidcSignIn]) -> Response:
    """Signed out here; with a link to the provider's own sign-out, where it has one."""
    provider = ways.provider
    url = await provider.end_session_url(_public(request) + "/editor/sign-in") if provider else None
    values = {"session": None, "end_session_url": url, "provider": provider.settings.name if provider else ""}
    return pages_of(request).respond(request, "signed_out_here.html", values)


def _redirect_uri(request: Request) -> str:
    return f"{_public(request)}{_PATH}/callback"


def _public(request: Request) -> str:
    return part(request, HttpSettings).public_url.rstrip("/")
