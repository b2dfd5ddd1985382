"""The pages that are served beside the API: the problem types, and the feed's demonstration.

Each page is one document without anything from elsewhere; its policy names its own script and style by hash, so
that nothing injected could run.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html import escape
from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

from gateway.api.http.problems import KINDS
from gateway.web.page import headers, policy


def _hashes(page: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    hashes = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
    return " ".join(f"'sha256-{each}'" for each in hashes) or "'none'"


def _served(page: str) -> Response:
    own = {"script_src": _hashes(page, "script"), "style_src": _hashes(page, "style")}
    return Response(page, 200, headers(policy(**own, connect_src="'self'", img_src="data:")), "text/html")


def _problem_types() -> str:
    rows = "".join(
        f'<tr id="{word}"><td>{kind.status}<td><code>/problems/{word}</code>'
        f"<td>{escape(kind.title)}<td>{escape(kind.remedy)}"
        for word, kind in KINDS.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Problem types</title>'
        '<meta name="viewport" content="width=device-width"><style>'
        ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui;margin:1rem auto;max-width:60rem;padding:0 1rem}"
        "td,th{padding:.4rem;text-align:left;vertical-align:top;border-top:1px solid #8886}"
        "div{overflow-x:auto}</style><h1>Problem types</h1>"
        "<p>Errors are <code>application/problem+json</code> (RFC 9457). Pointers name the field in the body; "
        "<code>/query/…</code>, <code>/path/…</code> and <code>/header/…</code> name a parameter.</p>"
        f"<div><table><tr><th>Status<th>Type<th>Meaning<th>Remedy{rows}</table></div></html>"
    )


def router() -> APIRouter:
    """The pages' routes; the documents are read once, here."""
    pages = APIRouter(include_in_schema=False)
    inbox = resources.files("gateway.web").joinpath("inbox.html").read_text("utf-8")
    problems = _problem_types()

    @pages.get("/inbox")
    async def show_inbox() -> Response:
        return _served(inbox)

    @pages.get("/problems")
    @pages.get("/problems/{word}")
    async def show_problems() -> Response:
        return _served(problems)

    return pages
