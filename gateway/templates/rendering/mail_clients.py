"""What Gmail and Outlook leave out of a laid-out message: in words, and the HTML as they show it.

The rules are data (``mail_clients.toml``), each with its source. The HTML is an approximation for people to look at.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from channels.profile import Wording
from gateway.templates.translatable import Translatable, worded

CLIENTS = ("gmail", "outlook")
_COMMENT = re.compile(r"<!--\[if[^\]]*\]><!-->|<!--<!\[endif\]-->|<!--\[if[^\]]*\]>.*?<!\[endif\]-->", re.DOTALL)
_DARK = re.compile(r"@media[^{]*prefers-color-scheme[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", re.IGNORECASE)
_MEDIA = re.compile(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", re.IGNORECASE)
_ROUND = re.compile(r"border-radius\s*:[^;\"}]*;?", re.IGNORECASE)
_PICTURE = re.compile(r"background(?:-image)?\s*:[^;\"}]*url\([^)]*\)[^;\"}]*;?", re.IGNORECASE)
_SCHEME = re.compile(r"<meta\b[^>]*\bname=[\"']?(?:supported-)?color-schemes?[\"']?[^>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClientNote:
    """What a program leaves out of a message; ``what`` is translatable."""

    client: str
    what: Translatable
    source: str


@dataclass(frozen=True, slots=True)
class _Rule:
    note: ClientNote
    pattern: re.Pattern[str] | None
    over: int  # bytes; 0: no limit

    def holds(self, html: str) -> bool:
        found = self.pattern is not None and self.pattern.search(html) is not None
        return found or 0 < self.over < len(html.encode())


@lru_cache(maxsize=1)
def _rules() -> tuple[_Rule, ...]:
    raw = tomllib.loads(resources.files(__package__).joinpath("mail_clients.toml").read_text("utf-8"))
    return tuple(
        _Rule(
            ClientNote(each["client"], worded(Wording(each["en"], each["zh"])), each["source"]),
            re.compile(each["pattern"], re.IGNORECASE) if "pattern" in each else None,
            each.get("over", 0),
        )
        for each in raw["rule"]
    )


def client_notes(html: str) -> tuple[ClientNote, ...]:
    """What the programs leave out of this message."""
    return tuple(each.note for each in _rules() if each.holds(html))


def as_client(html: str, client: str) -> str:
    """The HTML without what one of ``CLIENTS`` leaves out, in light colours."""
    html = _SCHEME.sub("", html)
    if client == "gmail":
        return _DARK.sub("", html)
    # What MJML has for Outlook alone stands in comments; its tables only repeat the widths, so they are left out.
    return _PICTURE.sub("", _ROUND.sub("", _MEDIA.sub("", _COMMENT.sub("", html))))
