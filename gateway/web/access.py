"""Access control of the pages: sessions, roles, and form tokens against cross-site request forgery.

Every page's route is a ``PageRoute``, which turns refusals into pages in the reader's language.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import GatewayClock, HttpSettings, part
from gateway.core.errors import Unavailable
from gateway.core.security.signing import Signer
from gateway.identity.admin_log import ActOutcome, AdminAct, AdminLog
from gateway.identity.sessions import Session, Sessions
from gateway.identity.users import Role, Users
from gateway.templates.versions.refusals import NoSuchVersion, TemplateRefusal
from gateway.web.form_texts import FIELD, SEEN, digest
from gateway.web.page import Pages, headers

# Of who is not signed in, any more: the texts of a session that has ended are kept over the sign-in. Our choice.
_STRANGERS_FORM_BYTES = 500_000
_SMALL_FORM_BYTES = 20_000  # our choice: decoded in 4 ms where every character is percent-encoded
_FIELDS = 2_000  # our choice: thirty locales of a dozen parts, each with its digest, and the samples
_IPV6_HOME = 64  # bits: one household or office (RFC 6177)


class SignInNeeded(Exception):
    """There is no valid session. ``form`` has the submitted fields, so that the user can keep them."""

    def __init__(self, form: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.form = form or {}


class NotAllowed(Exception):
    """The role does not permit it, or the form token is invalid; ``key`` is the page's text."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def pages_of(request: Request) -> Pages:
    return part(request, Pages)


def is_https(request: Request) -> bool:
    return part(request, HttpSettings).public_url.startswith("https://")


def cookie_name(request: Request) -> str:
    """The cookie's name, with the prefix ``__Host-`` (RFC 6265bis) under https, so that other hosts can't set it."""
    return "__Host-gateway_session" if is_https(request) else "gateway_session"


def client_network(request: Request) -> str:
    """The network that failed sign-ins are counted for: an IPv4 address, or an IPv6 prefix."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> _IPV6_HOME << _IPV6_HOME))
    return host


async def session_of(request: Request) -> Session | None:
    """The session of a request, if there is one. Raises Unavailable."""
    token = request.cookies.get(cookie_name(request), "")
    return await part(request, Sessions).find(token, part(request, GatewayClock)()) if token else None


def require_role(role: Role = Role.VIEWER) -> Callable[[Request], Awaitable[Session]]:
    """A dependency of GET pages: returns the session of a user with this role."""

    async def dependency(request: Request) -> Session:
        session = await session_of(request)
        if session is None:
            raise SignInNeeded
        if not session.user.role.may(role):
            raise NotAllowed("role_missing")
        return session

    return dependency


async def authenticated_form(request: Request, *roles: Role) -> tuple[Session, dict[str, str]]:
    """A dependency of forms: the session and the fields, after the token check. Raises SignInNeeded, NotAllowed.

    The user needs the rights of one of ``roles``.

    What takes more than a viewer's role is an entry of the administrators' log, committed before the page's route does
    it. ``PageRoute`` adds that it was refused. This is the one place where the pages' part of that log is written.
    """
    form = await read_form(request)
    return await checked_form(request, form, *roles), form


async def checked_form(request: Request, form: Mapping[str, str], *roles: Role) -> Session:
    """The session of a form that was read already; the checks are ``authenticated_form``'s."""
    session = await session_of(request)
    if session is None:
        raise SignInNeeded(form)
    token = request.headers.get("x-form-token") or form.get("form_token", "")
    if not part(request, Signer).is_form_token(session.id, token):
        raise NotAllowed("form_foreign")
    permitted = any(session.user.role.may(each) for each in roles)
    if Role.VIEWER not in roles:
        await _record(request, session, permitted=permitted)
    if not permitted:
        raise NotAllowed("role_missing")
    return session


async def record_look(request: Request, session: Session) -> None:
    """Record that somebody looks at what a borrower wrote or was told. Raises Unavailable: then nothing is shown."""
    await _record(request, session, permitted=True)


async def _record(request: Request, session: Session, *, permitted: bool) -> None:
    user, target = session.user, {name: str(value) for name, value in request.path_params.items()}
    operation = f"{request.method} {request.scope['route'].path}"
    act = AdminAct(user.tenant, user.actor, operation, target, str(request.scope["request_id"]))
    if not permitted:
        await part(request, AdminLog).record_denied(act, "forbidden")
        return
    request.state.admin_act = act
    await part(request, AdminLog).record(act)


async def _record_refusal(request: Request, reason: str) -> None:
    """Where the act of this request was recorded as begun: that it was not done."""
    act: AdminAct | None = getattr(request.state, "admin_act", None)
    if act is not None:
        await part(request, AdminLog).record(act.ended(ActOutcome.REFUSED, reason))


async def display_names(request: Request, session: Session) -> Callable[[str], str]:
    """A function from an actor to its display name: a colleague's name, or an API key's id."""
    users = await part(request, Users).list(session.user.tenant)
    names = {each.actor: each.name for each in users}
    texts = pages_of(request).texts(request)

    def who(actor: str) -> str:
        kind, _, identifier = actor.partition(":")
        if actor == "gateway":
            return texts("by_gateway")
        return texts("by_key", id=identifier) if kind == "key" else names.get(actor, actor)

    return who


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name, with LF line ends. Raises NotAllowed."""
    raw = await read_body(request)
    try:
        # Anybody may send a form, and decoding 5 MB takes a second: in a thread, other requests go on meanwhile.
        return _decoded(raw) if len(raw) <= _SMALL_FORM_BYTES else await asyncio.to_thread(_decoded, raw)
    except ValueError:  # not ASCII, not UTF-8 when percent-decoded, or too many fields
        raise NotAllowed("form_unreadable") from None


def _decoded(raw: bytes) -> dict[str, str]:
    """The fields of a form's body. Raises ValueError."""
    pairs = parse_qsl(
        raw.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS, encoding="utf-8", errors="strict"
    )
    return {name: value.replace("\r\n", "\n") for name, value in reversed(pairs)}


async def read_body(request: Request) -> bytes:
    """The body of a form. Raises NotAllowed beyond the limit: that of the settings, and a lower one for strangers."""
    most, known = part(request, HttpSettings).max_body_bytes, False
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _STRANGERS_FORM_BYTES and not known:
            known = await session_of(request) is not None
        if len(raw) > (most if known else min(most, _STRANGERS_FORM_BYTES)):
            raise NotAllowed("form_too_large")
    return bytes(raw)


def safe_back_path(path: str) -> str:
    """``path`` if it is a local path, else the start page: "//host" and "/\\host" lead to another site."""
    known = path == "/" or path.startswith(("/editor", "/journeys", "/ops", "/desk"))
    inside = known and path.isprintable() and "\\" not in path
    return path if inside else "/editor"


class PageRoute(APIRoute):
    """A route whose refusals are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
                if response.status_code >= HTTPStatus.BAD_REQUEST:
                    await _record_refusal(request, "invalid_request")
                return response
            except SignInNeeded as needed:
                return await _sign_in(request, needed)
            except NotAllowed as refused:
                return await message(request, 403, refused.key)
            except NoSuchVersion:
                await _record_refusal(request, "not_found")
                return await message(request, 404, "nothing_here")
            except TemplateRefusal as refusal:
                await _record_refusal(request, refusal.kind)
                return await message(request, 409, f"refusal_{refusal.kind}", str(refusal))
            except Unavailable:
                return await message(request, 503, "ledger_away", signed_in=False)

        return answer


async def message(request: Request, status: int, key: str, otherwise: str = "", *, signed_in: bool = True) -> Response:
    """A page with one sentence and a link back. ``otherwise`` is used where this language has no text for ``key``."""
    session = await session_of(request) if signed_in else None
    pages = pages_of(request)
    back = request.url.path if request.method == "GET" else request.url.path.rpartition("/")[0]
    words = pages.texts(request).maybe(key, otherwise)
    if is_htmx(request):
        return pages.respond(request, "_refused.html", {"words": words}, status)
    values = {"session": session, "words": words, "status": status, "back": safe_back_path(back)}
    return pages.respond(request, "message.html", values, status)


def is_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


async def _sign_in(request: Request, needed: SignInNeeded) -> Response:
    pages = pages_of(request)
    if is_htmx(request):
        words = pages.texts(request)("signed_out_meanwhile")
        return pages.respond(request, "_refused.html", {"words": words}, 401)
    if request.method == "GET":
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/editor/sign-in?back={quote(request.url.path + query)}", 303, headers())
    form = needed.form
    texts = {name.removeprefix(FIELD): text for name, text in form.items() if name.startswith(FIELD)}
    touched = {name: text for name, text in texts.items() if digest(text) != form.get(SEEN + name)}
    return pages.respond(request, "signed_out.html", {"session": None, "texts": touched}, 401)
