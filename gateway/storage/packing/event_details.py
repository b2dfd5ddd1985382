"""Events' details as they are stored: what nearly all say is one character in the place of its words.

A reminder's five events have some six hundred bytes of JSON, of which most are names of members. Deflating does less:
half of what is left are digests, which nothing shortens. JSON has no control characters but as escapes (RFC 8259,
section 7), so each stands for one fragment, and a detail without any is one as earlier versions stored it. An event's
hash covers the detail in full. Must not know what a detail means.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

# What worker and API write, who know by their heartbeat whether a version before runs, which reads details in full.
PACKED_KINDS = frozenset({"accepted", "attempt_started", "sent", "receipt"})

# Stored details can't be read without it: it never changes, and further fragments get further characters. A receipt's
# status stays a word in quotes, by which SQL finds it.
_FRAGMENTS = {
    "\x01": '{"template_version":"',
    "\x02": '","when":"accept","channel":"',
    "\x03": '{"when":"handoff","provider":"',
    "\x04": '","verdict":{"of":"',
    "\x05": ',"verdict":{"of":"',
    "\x06": '","counts":[0,0,0,0],"valid_until":"20',
    "\x07": '","counts":[',
    "\x0b": '],"valid_until":"20',
    "\x0c": ':00.000Z","time_zones":["',
    "\x0e": '.000Z","time_zones":["',
    "\x0f": 'Z","time_zones":["',
    "\x10": '"]},"words":"',
    "\x11": '"]}}',
    "\x12": '{"status":',
    "\x13": ',"code":"","attempt":1}',
    "\x14": ',"code":"',
    "\x15": '","attempt":',
    "\x16": '"valid_until":"20',
    "\x17": "America/",
    "\x18": "Europe/",
    "\x19": "Asia/",
}
_CHARACTERS = {fragment: character for character, fragment in _FRAGMENTS.items()}
_FRAGMENT = re.compile("|".join(map(re.escape, sorted(_CHARACTERS, key=len, reverse=True))))
_CHARACTER = re.compile(f"[{''.join(_FRAGMENTS)}]")


_ACTORS = {"\x01": "gateway"}  # the actor of all of these
_ACTOR_CHARACTERS = {actor: character for character, actor in _ACTORS.items()}


def pack(row: dict[str, Any]) -> None:
    """Make of an event's row, in place, what is stored."""
    row["detail"] = packed(row["detail"])
    row["actor"] = _ACTOR_CHARACTERS.get(row["actor"], row["actor"])


def packed(detail: str) -> str:
    """A detail, which is JSON, as it is stored."""
    return _FRAGMENT.sub(lambda found: _CHARACTERS[found[0]], detail)


def unpacked(stored: str) -> str:
    """The detail that is stored as this text."""
    return _CHARACTER.sub(lambda found: _FRAGMENTS[found[0]], stored)


class EventDetail(TypeDecorator[str]):
    """The column of details, for SQLAlchemy, which gives them in full. What is given to it is stored as it is."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else unpacked(value)


class EventActor(TypeDecorator[str]):
    """The column of actors, likewise."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _ACTORS.get(value, value)
