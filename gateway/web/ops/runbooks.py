"""``/ops/runbooks``: what to do about each alert: the Markdown pages of ``ops/runbooks``, which ship in the package.

The alerts' ``runbook_url`` leads here. The pages are in English; their titles and summaries in both languages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Depends, Request
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from starlette.responses import Response

from gateway.identity.sessions import Session
from gateway.web.access import PageRoute, message, require_role
from gateway.web.ops.page import ops_page

_LINK = re.compile(r"(\w+)\.md")  # from one runbook to another; other files of the repository are not served

router = APIRouter(prefix="/ops/runbooks", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_runbooks(request: Request, session: Session = Depends(require_role())) -> Response:
    """All runbooks; each alert has one."""
    return ops_page(request, session, "ops_runbooks.html", {"names": sorted(runbooks())})


@router.get("/{name}")
async def show_runbook(request: Request, name: str, session: Session = Depends(require_role())) -> Response:
    found = runbooks().get(name)
    if found is None:
        return await message(request, 404, "nothing_here")
    return ops_page(request, session, "ops_runbook.html", {"name": name, "text": found})


@cache
def runbooks() -> Mapping[str, Markup]:
    """Each runbook as HTML, by the name of its alert."""
    return {path.stem: rendered(path.read_text("utf-8")) for path in _folder().glob("Gateway*.md")}


def _folder() -> Path:
    """Beside the package in a checkout, inside it in an installed wheel."""
    here = Path(__file__).parents[2]
    return here / "_runbooks" if (here / "_runbooks").is_dir() else here.parent / "ops" / "runbooks"


def rendered(text: str) -> Markup:
    """The page without its title, as HTML. HTML in the text is shown as it is, and links lead to runbooks only."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]
    for token in tokens:
        _relink(token.children or ())
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _relink(tokens: Sequence[Token]) -> None:
    """Point links at the pages, and make text of those to files that no page shows."""
    inside = False
    for token in tokens:
        if token.type == "link_open":
            known = _LINK.fullmatch(str(token.attrGet("href")))
            inside = known is None
            if known is not None:
                token.attrSet("href", f"/ops/runbooks/{known[1]}")
        if inside and token.type in ("link_open", "link_close"):
            inside = token.type == "link_open"
            token.type, token.tag, token.nesting, token.content, token.attrs = "text", "", 0, "", {}
