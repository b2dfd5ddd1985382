"""Bodies in and out: read within a limit, parsed strictly, validated; answers written as JSON.

One way for every route, so that size, media type and malformed JSON are always answered alike. Size, nesting and the
number of values are judged before a body is validated: an error for each of a million unknown fields takes gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from gateway.api.http.parts import ConfiguredChannels, HttpSettings, part
from gateway.api.http.problems import ErrorBudget, Problem, as_json, field_errors
from gateway.core.requests import FieldError
from gateway.core.suggestions import did_you_mean

M = TypeVar("M", bound=BaseModel)

# Commas and opening brackets of a body, of which each value but the first has one before it. Our choice: 300 for each
# item of a full batch; a usual item has 25. It bounds what decoding can build, at some 20 MB.
_MOST_SEPARATORS = 300_000


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """What one JSON document may have: bytes, values (members and items at every level), and levels of nesting."""

    size: int
    values: int
    depth: int = 8  # our choice: variables may be nested 6 deep (requests/fields.py), two levels below the root


DEFAULT_LIMITS = JsonLimits(1_000_000, 10_000)  # our choice: a decision with 1,000 contacts has 5,000 values in 150 kB


async def read(request: Request, most: int, check: Callable[[bytes], None] | None = None) -> bytes:
    """The body. Raises Problem 413 beyond ``most`` bytes, before reading it where its length is declared.

    ``check`` is called with each piece as it arrives, and raises what ends the reading.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        if check is not None:
            check(chunk)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(most: int) -> Problem:
    return Problem("too_large", f"The body is larger than {most} bytes; send less at once.")


async def read_json(request: Request, limits: JsonLimits = DEFAULT_LIMITS) -> Any:
    """The body as a value. Raises Problem: 415, 413, 400, 422."""
    return decoded(await _read_json_bytes(request, limits.size, limits.size), limits)


async def read_batch(request: Request, item: JsonLimits) -> bytes:
    """The body of a batch, declared as JSON and not decoded, of at most ``max_body_bytes``.

    ``item`` is what one of its objects may have. Raises Problem: 415, 413, 422.
    """
    return await _read_json_bytes(request, part(request, HttpSettings).max_body_bytes, item.size)


async def _read_json_bytes(request: Request, most: int, object_size: int) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem("unsupported_media_type")
    return await read(request, min(most, part(request, HttpSettings).max_body_bytes), _SeparatorCount(object_size))


class _SeparatorCount:
    """Counts values while a body arrives, so that one of too many is not read to its end, nor searched at once.

    An object of at most ``object_size`` bytes has fewer commas than bytes: a body with more commas than its objects can
    have is of no use, however few values it has in all.
    """

    def __init__(self, object_size: int) -> None:
        self._object_size = object_size
        self._commas = self._objects = self._lists = 0

    def __call__(self, chunk: bytes) -> None:
        self._commas += chunk.count(b",")
        self._objects += chunk.count(b"{")
        self._lists += chunk.count(b"[")
        too_many = self._commas + self._objects + self._lists > _MOST_SEPARATORS
        if too_many or self._commas > self._object_size * (self._objects + 1):
            raise _too_complex("", "has too many values; send less at once")


def decoded(raw: bytes | msgspec.Raw, limits: JsonLimits, at: str = "") -> Any:
    """A JSON document as a value; ``at`` is the pointer to it. Raises Problem: 413, 400, 422."""
    raw = bytes(raw)
    if len(raw) > limits.size:
        raise _too_large(limits.size)
    value = _parsed(raw, Any)
    # Counting bytes is cheap, and is enough for a usual notification.
    opened = raw.count(b"[") + raw.count(b"{")
    if (opened > limits.depth or opened + raw.count(b",") >= limits.values) and not _within(value, limits):
        detail = f"is nested more than {limits.depth} deep or has more than {limits.values} values; send less"
        raise _too_complex(at, detail)
    return value


def members(raw: bytes) -> Mapping[str, msgspec.Raw]:
    """The members of a JSON object, each still bytes; none where it is no object. Raises Problem: 400, 422."""
    try:
        found: Mapping[str, msgspec.Raw] = _parsed(raw, dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return {}
    return found


def items(raw: msgspec.Raw) -> Sequence[msgspec.Raw] | None:
    """The items of a JSON array, each still bytes; None where it is no array. Raises Problem: 400, 422."""
    try:
        found: Sequence[msgspec.Raw] = _parsed(raw, list[msgspec.Raw])
    except msgspec.ValidationError:
        return None
    return found


def _parsed(raw: bytes | msgspec.Raw, kind: Any) -> Any:
    """Raises Problem: 400, 422; msgspec.ValidationError where it is JSON of another kind."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        if kind is not Any:
            raise
        raise _malformed(error) from None  # a number that no float holds
    except ValueError as error:
        raise _malformed(error) from None
    except RecursionError:
        raise _too_complex("", "is nested too deeply") from None


def _malformed(error: Exception) -> Problem:
    # The parser's words are a sentence of its own and a place; they quote nothing.
    return Problem("malformed_json", f"The body is not JSON: {error}.")


def _within(value: Any, limits: JsonLimits) -> bool:
    left, level = limits.values, [value]
    for _ in range(limits.depth):
        left -= len(level)
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level or left < 0:
            break
    return not level and left >= 0


def _too_complex(at: str, detail: str) -> Problem:
    return Problem("invalid_request", errors=[FieldError(at, detail)])


def validated(model: type[M], value: Any, prefix: str = "", budget: ErrorBudget | None = None) -> M:
    """``value`` as a model. Raises Problem 422: pointers below ``prefix``, and no more errors than ``budget`` has."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        budget = budget or ErrorBudget()
        if not budget.left:
            raise budget.unlisted.with_traceback(None) from None
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        found = field_errors(errors[: budget.left], prefix, model)
        raise budget.spend(Problem("invalid_request", errors=found), error.error_count()) from None


async def read_model(request: Request, model: type[M], limits: JsonLimits = DEFAULT_LIMITS) -> M:
    """The body as a model. Raises Problem."""
    return validated(model, await read_json(request, limits))


def normal_address(configured: ConfiguredChannels, channel: str, address: str, at: str = "") -> str:
    """The one spelling under which an address is kept. Raises Problem 422 with pointers below ``at``."""
    if channel not in configured.channels:
        detail = f"there is no such channel{did_you_mean(channel, configured.channels)}"
        raise Problem("invalid_request", errors=[FieldError(f"{at}/channel", detail)])
    try:
        return configured.channels[channel].normalise(address)
    except ValueError as error:  # the channel's own words, which never repeat the address
        raise Problem("invalid_request", errors=[FieldError(f"{at}/address", str(error))]) from None


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. Instants must be texts already; see codec.instant."""
    return Response(as_json(value), status, headers, "application/json")
