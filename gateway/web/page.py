"""Shared by all pages: Jinja templates, assets, language, and security headers.

A page is a file in ``pages/`` that extends ``base.html``. It loads local assets only, whose URLs have a hash of their
content; its content security policy forbids inline scripts and styles, so that injected ones can't run. Must not know
the content of the pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from channels.profile import Profiles
from gateway.api.http.path_prefix import with_prefix
from gateway.web import translations
from gateway.web.translations import PageTexts


def policy(**allowed: str) -> str:
    """A content security policy that permits these sources (``script_src="'self'"``) only; framing is forbidden."""
    closed = {"default_src": "'none'", "base_uri": "'none'", "form_action": "'none'", "frame_ancestors": "'none'"}
    return "; ".join(f"{name.replace('_', '-')} {sources}" for name, sources in {**closed, **allowed}.items())


POLICY = policy(
    script_src="'self'",
    style_src="'self'",
    img_src="'self' data:",
    connect_src="'self'",
    frame_src="'self'",
    form_action="'self'",
)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_YEAR = 365 * 24 * 3600


def headers(policy: str = POLICY) -> dict[str, str]:
    """The HTTP headers of every page."""
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def environment(*others: str) -> Environment:
    """The Jinja environment of the pages, and of ``others``: folders beside theirs."""
    return Environment(
        loader=ChoiceLoader([PackageLoader("gateway.web", folder) for folder in ("pages", *others)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class Pages:
    """Renders the pages. Each has ``t`` (its words), ``language``, ``languages``, ``here`` and ``asset``."""

    def __init__(self, profiles: Profiles, prefix: str = "") -> None:
        """``profiles``: the installed channels. ``prefix``: the path under which a proxy publishes the gateway."""
        self._prefix = prefix
        self._texts = translations.load(profiles)
        self._assets = _assets()
        self._environment = environment()

    def texts(self, request: Request) -> PageTexts:
        cookie = request.cookies.get(translations.COOKIE, "")
        return self._texts[translations.choose(cookie, request.headers.get("accept-language", ""))]

    def respond(self, request: Request, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """The page ``name`` in the reader's language."""
        texts = self.texts(request)
        query = f"?{request.url.query}" if request.url.query else ""
        page = self._environment.get_template(name).render(
            t=texts,
            language=texts.language,
            languages=translations.LANGUAGES,
            here=request.url.path + query if request.method == "GET" else "/editor",
            asset=self.asset,
            **values,
        )
        return Response(with_prefix(page, self._prefix), status, headers(), "text/html")

    def asset(self, name: str) -> str:
        """The URL of an asset."""
        return f"/assets/{self._assets[name][0]}/{name}"

    def router(self) -> APIRouter:
        """The routes of the assets, and of choosing a language."""
        routes = APIRouter(include_in_schema=False)

        @routes.get("/assets/{digest}/{name}")
        async def show_asset(digest: str, name: str) -> Response:
            known, content = self._assets.get(name, ("", b""))
            if known != digest:
                return Response(status_code=404)
            kind = _TYPES["." + name.rpartition(".")[2]]
            fixed = {"Cache-Control": f"public, max-age={_YEAR}, immutable", "X-Content-Type-Options": "nosniff"}
            return Response(content, media_type=kind, headers=fixed)

        @routes.get("/language/{chosen}")
        async def choose_language(request: Request, chosen: str, back: str = "/editor") -> Response:
            # Local paths only: "//host" and "/\host" lead to another site.
            inside = back.startswith("/") and back[1:2] not in ("/", "\\") and back.isprintable()
            answer = RedirectResponse(back if inside else "/editor", 303, headers())
            if chosen in translations.LANGUAGES:
                answer.set_cookie(
                    translations.COOKIE,
                    chosen,
                    max_age=_YEAR,
                    httponly=True,
                    samesite="lax",
                    secure=request.url.scheme == "https",
                )
            return answer

        return routes


def _assets() -> dict[str, tuple[str, bytes]]:
    folder = resources.files("gateway.web").joinpath("assets")
    found = {}
    for each in folder.iterdir():
        if "." + each.name.rpartition(".")[2] in _TYPES:
            content = each.read_bytes()
            found[each.name] = (hashlib.sha256(content).hexdigest()[:16], content)
    return found
