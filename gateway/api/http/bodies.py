"""Bodies in and out: read within a limit, parsed strictly, validated; answers written as JSON.

One way for every route, so that size, media type and malformed JSON are always answered alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.responses import Response

from gateway.api.http.parts import ConfiguredChannels, HttpSettings, part
from gateway.api.http.problems import Problem, as_json, field_errors
from gateway.core.requests import FieldError

M = TypeVar("M", bound=BaseModel)


async def read(request: Request, most: int) -> bytes:
    """The body. Raises Problem 413 beyond ``most`` bytes, before reading it where its length is declared."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(most: int) -> Problem:
    return Problem("too_large", f"The body is larger than {most} bytes; send less at once.")


async def read_json(request: Request) -> Any:
    """The body as a value. Raises Problem: 415, 413, 400."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem("unsupported_media_type")
    raw = await read(request, part(request, HttpSettings).max_body_bytes)
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        # The parser's words are a sentence of its own and a place; they quote nothing.
        raise Problem("malformed_json", f"The body is not JSON: {error}.") from None


def validated(model: type[M], value: Any, prefix: str = "") -> M:
    """``value`` as a model. Raises Problem 422 with pointers below ``prefix``."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        raise Problem("invalid_request", errors=field_errors(errors, prefix)) from None


async def read_model(request: Request, model: type[M]) -> M:
    """The body as a model. Raises Problem."""
    return validated(model, await read_json(request))


def normal_address(configured: ConfiguredChannels, channel: str, address: str, at: str = "") -> str:
    """The one spelling under which an address is kept. Raises Problem 422 with pointers below ``at``."""
    if channel not in configured.channels:
        raise Problem("invalid_request", errors=[FieldError(f"{at}/channel", "there is no such channel")])
    try:
        return configured.channels[channel].normalise(address)
    except ValueError as error:  # the channel's own words, which never repeat the address
        raise Problem("invalid_request", errors=[FieldError(f"{at}/address", str(error))]) from None


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. Instants must be texts already; see codec.instant."""
    return Response(as_json(value), status, headers, "application/json")
