"""``/``: what this is, where each kind of reader goes on, and a first request that works against the demo."""

from __future__ import annotations

import json
import shlex

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.http.parts import HttpSettings, Uses
from gateway.api.requests.notifications import EXAMPLE
from gateway.web.access import PageRoute, pages_of, session_of

# Whom a page is for; the page itself says who may see it.
READERS = (
    ("developer", "/docs"),
    ("writer", "/editor"),
    ("agent", "/desk"),
    ("operator", "/ops"),
    ("strategist", "/journeys"),
)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
async def show_landing(request: Request, settings: Uses[HttpSettings]) -> Response:
    """For everybody; without a word about what this installation does."""
    documented = settings.shows_api_docs
    values = {
        "session": await session_of(request),
        "readers": [each for each in READERS if documented or each[1] != "/docs"],
        "first_request": first_request(settings.public_url) if documented else "",
    }
    return pages_of(request).respond(request, "landing.html", values)


def first_request(url: str) -> str:
    """A command for the shell that sends the API's example with the key in ``GATEWAY_API_KEY``."""
    members = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in EXAMPLE.items())
    body = f"{{\n{members}\n  }}"
    return (
        f"curl -sS {shlex.quote(f'{url}/v1/notifications')} \\\n"
        '  -H "Authorization: Bearer $GATEWAY_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )
