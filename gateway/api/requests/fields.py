"""The types of the fields that callers send: texts, instants, durations, addresses, and their bounds.

Unknown fields are refused, so that a misspelt ``expires_at`` is not silently without effect.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

_LONGEST_WAIT = timedelta(days=7)  # our choice: a reminder that waits longer for its next channel is another reminder
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_DEEPEST, _MOST_NODES, _LONGEST_TEXT = 6, 500, 4000  # our choice; a message is at most a few hundred words
_INT64 = 2**63
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d", re.ASCII)


def _only_text(value: Any) -> Any:
    # Otherwise a number would do as a date or a duration, in a unit that the caller has to guess.
    if value is not None and not isinstance(value, str):
        raise PydanticCustomError("text", "must be a string")
    return value


def rfc3339(value: Any) -> Any:
    """A before-validator: otherwise a text of digits would do as an instant, in a unit that the caller has to guess."""
    if value is not None and not (isinstance(value, str) and _DATE_TIME.match(value)):
        raise PydanticCustomError("instant", "must be an RFC 3339 instant like 2026-11-24T09:00:00Z")
    return value


def iso_duration(value: Any) -> Any:
    """A before-validator: otherwise a number would do, in a unit that the caller has to guess."""
    if value is not None and not (isinstance(value, str) and value.startswith("P")):
        raise PydanticCustomError("duration", "must be an ISO 8601 duration like PT30M")
    return value


def _short(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= _LONGEST_WAIT:
        raise PydanticCustomError("duration", "must be longer than nothing and at most P7D")
    return value


def _plausible(value: datetime) -> datetime:
    if not _EARLIEST <= value <= _LATEST:
        raise PydanticCustomError("instant", "must be between the years 2000 and 2100")
    return value.astimezone(UTC)


def _printable(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("text", "must not contain NUL characters")
    return value


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Values that every database and JSON library can carry: no NUL, no infinity, no integer beyond 64 bits."""
    left = _MOST_NODES

    def check(node: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise PydanticCustomError("size", "is nested too deeply or holds too many values")
        if isinstance(node, str):
            if len(node) > _LONGEST_TEXT or "\x00" in node:
                raise PydanticCustomError("text", "holds a text that is too long or has a NUL character")
        elif isinstance(node, dict):
            for name, member in node.items():
                check(name, depth + 1)
                check(member, depth + 1)
        elif isinstance(node, list):
            for member in node:
                check(member, depth + 1)
        elif isinstance(node, int | float) and not -_INT64 <= node < _INT64:
            raise PydanticCustomError("number", "holds a number that is too large; send it as a string")

    check(value, 0)
    return value


# Ids are path segments of addresses (/v1/borrowers/{id}), so a slash can't be part of them.
Identifier = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^\s\p{C}/]([^\p{C}/]*[^\s\p{C}/])?$"),
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\P{C}+$")]
Channel = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9_]*$")]
Address = Annotated[str, StringConstraints(min_length=1, max_length=320), AfterValidator(_printable)]  # RFC 5321
Text = Annotated[str, AfterValidator(_printable)]
Instant = Annotated[AwareDatetime, BeforeValidator(rfc3339), AfterValidator(_plausible)]
Day = Annotated[date, BeforeValidator(_only_text)]
Wait = Annotated[timedelta, BeforeValidator(iso_duration), AfterValidator(_short)]
Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Values = Annotated[dict[str, Any], AfterValidator(_plain)]
Flag = Annotated[bool, Field(strict=True)]  # not 0, "no" or "off"


class RequestModel(BaseModel):
    """The base of everything that comes from outside.

    Empty lists and objects are made by a factory where many requests come: pydantic deep-copies a mutable default,
    which costs more than the whole validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def example(**values: Any) -> ConfigDict:
    """A body for the API's documentation that the demo takes as it stands."""
    return ConfigDict(json_schema_extra={"example": values})
