"""Pages of lists: opaque cursors and the Link header (RFC 8288)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import urlencode

from fastapi import Request

from gateway.api.http.problems import Problem
from gateway.core.requests import FieldError


def encode(position: str | int) -> str:
    return urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def decode(cursor: str | None, shape: str) -> str | None:
    """The position that a cursor of ours names; ``shape`` is its regular expression. Raises Problem 422."""
    if cursor is None:
        return None
    try:
        position = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        position = ""
    if not re.fullmatch(shape, position, re.ASCII):
        detail = "is not a cursor of this list; start again without one"
        raise Problem("invalid_request", errors=[FieldError("/query/cursor", detail)])
    return position


def link(request: Request, cursor: str | None) -> dict[str, str]:
    """The header that points to the next page; nothing on the last one."""
    if cursor is None:
        return {}
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return {"Link": f'<{request.url.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'}
