"""Errors as RFC 9457 problem documents: the closed list of their types, each with its remedy, and their writing.

No problem ever repeats what the caller sent: those are borrowers' data. Knows nothing of the gateway's verbs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.core.ports import FieldError, InvalidData, RejectedRequest, Unavailable

_MOST_ERRORS = 50  # our choice: nobody mends more at once, and a hostile body could hold a million
_RETRY_AFTER_SECONDS = 5  # our choice: longer than a database's failover probe, shorter than a client's patience


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A problem type: its status, its title, and what the caller can do about it."""

    status: int
    title: str
    remedy: str


# The key is the last word of the type URI ``/problems/<word>`` and the metric label.
KINDS: Mapping[str, ProblemType] = {
    "malformed_json": ProblemType(400, "The body is not JSON", "Send one UTF-8 JSON document (RFC 8259)."),
    "malformed_callback": ProblemType(
        400, "The callback cannot be read", "It is signed correctly but lacks what the provider documents."
    ),
    "unauthorized": ProblemType(
        401,
        "No valid key or token",
        "Send Authorization: Bearer with an API key (gateway key create), or with a borrower token for the inbox.",
    ),
    "forbidden": ProblemType(403, "The key may not do this", "Use a key with the scope that the detail names."),
    "same_person": ProblemType(403, "A second person has to do this", "Ask somebody who did not write or submit it."),
    "not_your_address": ProblemType(
        403,
        "Tests go to your own address only",
        "Use the address of your account, or have an operator name one in GATEWAY_TEST_ADDRESSES.",
    ),
    "bad_signature": ProblemType(
        403,
        "The signature does not match",
        "Only the provider may call this. If it did, check the provider's secret and GATEWAY_PUBLIC_URL.",
    ),
    "not_found": ProblemType(
        404, "There is no such thing here", "Check the id; ids of other tenants do not exist for you."
    ),
    "method_not_allowed": ProblemType(
        405, "This address does not take this method", "See the Allow header, and /docs."
    ),
    "too_late": ProblemType(
        409,
        "It has been handed to a provider",
        "A message under way cannot be called back; see its state. No further step of its route follows it.",
    ),
    "not_approvable": ProblemType(409, "It can't be approved as it is", "Do what the detail says."),
    "wrong_state": ProblemType(409, "The version's state does not allow this", "Do what the detail says."),
    "draft_exists": ProblemType(
        409, "A draft of this template is open", "Go on with it (it is under current), or discard it first."
    ),
    "needs_confirmation": ProblemType(
        409,
        "Publishing it would have consequences",
        "Tell the callers that consequences names, or send the request again with confirm.",
    ),
    "already_scheduled": ProblemType(
        409, "Another version is to be published", "Unschedule it first, or publish this one at once."
    ),
    "nothing_to_roll_back": ProblemType(409, "Nothing was live before", "An operator can pause the template instead."),
    "paused": ProblemType(409, "An operator has stopped this", "Ask them, or wait; see /v1/switches."),
    "edited_meanwhile": ProblemType(
        412,
        "Somebody else saved it since",
        "Your text is not lost: put it together with the present one (under current), and save with its ETag.",
    ),
    "too_large": ProblemType(413, "The body is too large", "Send fewer notifications in one batch."),
    "unsupported_media_type": ProblemType(
        415, "The body is not declared as JSON", "Send Content-Type: application/json."
    ),
    "invalid_request": ProblemType(422, "The request is not valid", "Mend the fields that the errors point at."),
    "invalid_variables": ProblemType(
        422, "The template cannot be rendered with these variables", "Mend the variables that the errors point at."
    ),
    "unknown_template": ProblemType(
        422, "There is no such template", "Use the id, and if any the version, of a published template."
    ),
    "lint_errors": ProblemType(422, "The text has errors", "Mend what the findings say, each at its place."),
    "revision_required": ProblemType(
        428, "It is not said which text yours is based on", "Send the ETag of the text you read in If-Match."
    ),
    "too_many_tests": ProblemType(429, "Enough tests for now", "Wait a while; see the detail."),
    "idempotency_key_reused": ProblemType(
        422,
        "This idempotency key came with another body before",
        "Use a new key for a new request; send the same body to repeat one. A repetition that arrives while the "
        "first is being stored waits for it and gets its answer, so it is never told to come back later.",
    ),
    "internal": ProblemType(
        500, "Something broke on our side", "Report the request_id. With an idempotency key, try again."
    ),
    "no_provider": ProblemType(503, "No provider can take it now", "Try again after a moment; see the detail."),
    "unavailable": ProblemType(
        503, "The ledger cannot be reached", "Nothing was stored. Try again after the time in Retry-After."
    ),
}

_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


class Problem(Exception):
    """An error on its way to the caller. ``detail`` must not quote the request."""

    def __init__(
        self,
        kind: str,
        detail: str = "",
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail or KINDS[kind].remedy
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @property
    def status(self) -> int:
        return KINDS[self.kind].status

    def document(self) -> dict[str, Any]:
        """The members of RFC 9457 section 3.1, ``errors``, and what this kind has besides (its section 3.2)."""
        found: dict[str, Any] = {
            "type": f"/problems/{self.kind}",
            "title": KINDS[self.kind].title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            found["errors"] = [{"pointer": each.pointer, "detail": each.detail} for each in self.errors[:_MOST_ERRORS]]
        return found | self.extra


def refused(refusal: RejectedRequest) -> Problem:
    """What the accept stage refuses. Its reasons are words of ``KINDS``."""
    return Problem(refusal.reason, KINDS[refusal.reason].remedy, refusal.errors)


def invalid_data() -> Problem:
    return Problem("invalid_request", "A value is too long, or has characters that can't be stored, such as NUL.")


def unavailable() -> Problem:
    return Problem("unavailable", headers={"Retry-After": str(_RETRY_AFTER_SECONDS)})


def unauthorized(detail: str = "") -> Problem:
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="gateway"'})


def respond(problem: Problem, request_id: str) -> Response:
    return Response(
        as_json({**problem.document(), "request_id": request_id}),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def as_json(value: Any) -> bytes:
    """An answer's document."""
    return msgspec.json.encode(value, enc_hook=_as_text)


def _as_text(value: Any) -> str:
    """A text of a kind of its own, as the sentences of the catalogue are, is a text."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(type(value).__name__)  # what msgspec asks of a hook that has no answer


def pointer(location: Sequence[str | int]) -> str:
    """An RFC 6901 pointer to where pydantic found something. ``[key]`` says that a member's name was at fault."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location if part != "[key]"]
    return "".join(f"/{part}" for part in parts)


# What to say instead of pydantic's own words, where those don't help. None of its words repeats the input.
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request; check its spelling, or leave it out",
    "string_type": "must be a string",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
}


def field_errors(errors: Iterable[Mapping[str, Any]], prefix: str = "") -> list[FieldError]:
    """pydantic's errors as ours. ``prefix`` is the pointer to the value that was validated."""
    return [FieldError(prefix + pointer(error["loc"]), _words(error)) for error in errors]


def _words(error: Mapping[str, Any]) -> str:
    if error["type"] == "string_pattern_mismatch":
        return "has characters or a form that is not allowed here; see /docs"
    return _WORDS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")


def _of_parameters(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Parameters are pointed at as if the request were one document: ``/query/limit``, ``/path/kind``."""
    return field_errors({**error, "loc": [part for part in error["loc"] if part != "body"]} for error in errors)


def install(app: FastAPI) -> None:
    """Have every error that the app raises answered as a problem."""

    def request_id(request: Request) -> str:
        return str(request.scope.get("request_id", ""))

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return respond(error, request_id(request))

    async def on_unavailable(request: Request, _error: Exception) -> Response:
        return respond(unavailable(), request_id(request))

    async def on_invalid_data(request: Request, _error: Exception) -> Response:
        return respond(invalid_data(), request_id(request))

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return respond(Problem("invalid_request", errors=_of_parameters(error.errors())), request_id(request))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = _BY_STATUS.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal")
        return respond(Problem(kind, headers=error.headers), request_id(request))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(Unavailable, on_unavailable)
    app.add_exception_handler(InvalidData, on_invalid_data)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
