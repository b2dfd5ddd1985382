"""What the pages below ``/ops`` share: their menu, and reading a form's reason and its picked rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.web.access import pages_of

# The pages in the order of the menu, each with the role that it takes.
MENU: Mapping[str, Role] = {
    "": Role.VIEWER,
    "controls": Role.VIEWER,
    "providers": Role.VIEWER,
    "dead-letters": Role.OPERATOR,
    "unknown": Role.OPERATOR,
    "reviews": Role.OPERATOR,
    "webhooks": Role.OPERATOR,
    "runbooks": Role.VIEWER,
    "sessions": Role.PLATFORM,
}
PICKED = "pick:"  # before the id in the name of a row's checkbox: a form's fields are read by name, the first of each
_REASON = range(3, 501)  # characters, as in the API's requests


def menu_of(session: Session) -> list[str]:
    """The pages that this user may open."""
    return [name for name, role in MENU.items() if session.user.role.may(role)]


def ops_page(request: Request, session: Session, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """A page below ``/ops`` with its menu."""
    return pages_of(request).respond(request, name, {"session": session, "menu": menu_of(session), **values}, status)


def reason_of(form: Mapping[str, str]) -> str | None:
    """The reason for an act, which is kept as evidence. None: it is missing, or no text that may be kept."""
    reason = form.get("reason", "").strip()
    return reason if len(reason) in _REASON and "\x00" not in reason else None


def picked(form: Mapping[str, str]) -> list[str]:
    """The ids of the rows that were ticked."""
    return [name.removeprefix(PICKED) for name in form if name.startswith(PICKED) and "\x00" not in name]
