"""The texts and the frame of borrowers' own pages: in the language that the borrower reads, with the lender's name.

A page is a file in ``pages/`` that extends ``frame.html``; the words are in ``texts/``. No page has a
script or a cookie. Must not know the ledger.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import Response

from gateway.api.http.path_prefix import with_prefix
from gateway.core.languages import written_language
from gateway.templates import Lender
from gateway.templates.rendering.bare_links import urls_in
from gateway.web.page import policy

# Each written language by its own name, with the locale of its dates.
READ_IN: Mapping[str, tuple[str, str]] = {
    "en": ("English", "en_GB"),
    "zh-Hans": ("简体中文", "zh_Hans"),
    "zh-Hant": ("繁體中文", "zh_Hant"),
}
_POLICY = policy(style_src="'self'", img_src="'self'", form_action="'self'")
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",  # the address of the page is the right to open it
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class BorrowerTexts:
    """The words of one language. A call with a key and its values gives the text; an unknown key is an error."""

    language: str
    texts: Mapping[str, str]
    channels: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        return self.texts[key].format(**values) if values else self.texts[key]

    def day(self, at: datetime, zone: str) -> str:
        """A day by the reader's clock."""
        return str(format_date(_local(at, zone), "long", locale=READ_IN[self.language][1]))

    def instant(self, at: datetime, zone: str) -> str:
        """An instant by the reader's clock, with the name of the zone where that is not known to be theirs."""
        length = "medium" if zone else "long"
        return str(format_datetime(_local(at, zone), length, locale=READ_IN[self.language][1]))


def _local(at: datetime, zone: str) -> datetime:
    return at.astimezone(ZoneInfo(zone)) if zone else at


def page_language(language: str) -> str:
    """The language of the pages for a locale or a written language: English where there are no texts in it."""
    written = written_language(language)
    return written if written in READ_IN else "en"


def accepted_language(accepted: str) -> str:
    """The same for a header Accept-Language whose order is that of preference, as browsers send it."""
    names = [each.partition(";")[0].strip() for each in accepted[:200].split(",")]
    return next((found for each in names if (found := written_language(each)) in READ_IN), "en")


def clickable(text: str) -> Markup:
    """A text that the lender wrote, escaped, with its addresses as links."""
    made, at = Markup(""), 0
    for begins, ends in urls_in(text):
        url = text[begins:ends]
        made += escape(text[at:begins]) + Markup('<a href="{0}" rel="noopener noreferrer">{0}</a>').format(url)
        at = ends
    return made + escape(text[at:])


class BorrowerPages:
    """Renders the pages. Each has ``t`` (its words), ``lender`` and ``asset``."""

    def __init__(self, lender: Lender, asset: Callable[[str], str], prefix: str = "") -> None:
        """``asset``: the URL of a file; ``prefix``: the path under which a proxy publishes the gateway."""
        self._lender = lender
        self._asset = asset
        self._prefix = prefix
        folder = resources.files("gateway.web.borrowers").joinpath("texts")
        read = {each: tomllib.loads(folder.joinpath(f"{each}.toml").read_text("utf-8")) for each in READ_IN}
        self._texts = {each: BorrowerTexts(each, words, words.pop("channels")) for each, words in read.items()}
        self._environment = Environment(
            loader=PackageLoader("gateway.web.borrowers", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["clickable"] = clickable

    def texts(self, language: str) -> BorrowerTexts:
        return self._texts[page_language(language)]

    def respond(self, name: str, t: BorrowerTexts, values: Mapping[str, Any], status: int = 200) -> Response:
        page = self._environment.get_template(name).render(t=t, lender=self._lender, asset=self._asset, **values)
        return Response(with_prefix(page, self._prefix), status, _HEADERS, "text/html")

    def note(
        self, t: BorrowerTexts, status: int, key: str, *sentences: str, link: tuple[str, str] | None = None
    ) -> Response:
        """A page with a title and some sentences. ``link``: an address here, and its words."""
        values = {"title": t(key), "sentences": sentences, "link": link}
        return self.respond("note.html", t, values, status)
