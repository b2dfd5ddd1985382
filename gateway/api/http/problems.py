"""Errors as RFC 9457 problem documents: the closed list of problem types, each with its remedy, and the responses.

No problem repeats what the caller sent, because that is borrowers' data. Must not know the gateway's services.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.core.errors import InvalidData, Unavailable
from gateway.core.requests import FieldError, RejectedRequest
from gateway.core.suggestions import did_you_mean

_MOST_ERRORS = 50  # our choice: nobody fixes more at once, and a hostile body could hold a million
_UNLISTED = f"An answer lists {_MOST_ERRORS} errors at most: fix those first."
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
        400, "The callback is malformed", "The signature is valid, but fields are missing that the provider documents."
    ),
    "unauthorized": ProblemType(
        401,
        "No valid key or token",
        "Send Authorization: Bearer with an API key (gateway key create), or with a borrower token for the inbox.",
    ),
    "forbidden": ProblemType(403, "The key is not allowed to do this", "Use a key with the scope named in detail."),
    "network_not_allowed": ProblemType(
        403,
        "The key may not be used from this address",
        "Call from a network that the key was made for (gateway key list), or use another key. Behind a proxy, "
        "FORWARDED_ALLOW_IPS has to name it.",
    ),
    "same_person": ProblemType(403, "A second person has to do this", "Ask somebody who did not write or submit it."),
    "person_needed": ProblemType(
        403,
        "A person has to approve this",
        "Approve it on the page /journeys, or with a key that was made for a person (gateway key create --user).",
    ),
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
    "not_found": ProblemType(404, "Not found", "Check the id. Ids of other tenants are never found."),
    "method_not_allowed": ProblemType(405, "Method not allowed", "See the Allow header, and /docs."),
    "too_late": ProblemType(
        409,
        "Too late: a provider already has the message",
        "A message that was sent can't be recalled; see its state. No further step of its route follows.",
    ),
    "second_person_needed": ProblemType(
        409,
        "A second person has to decide this",
        "A policy pack wants four eyes for it: one person proposes it at the desk, and another decides.",
    ),
    "not_approvable": ProblemType(409, "Can't be approved", "See the detail."),
    "wrong_state": ProblemType(409, "Not possible in the version's state", "See the detail."),
    "draft_exists": ProblemType(
        409, "This template already has a draft", "Continue with that draft (see current), or discard it first."
    ),
    "glossary_changed": ProblemType(
        409, "Somebody has saved the glossary since", "Read it again, and send your change with its revision."
    ),
    "template_exists": ProblemType(
        409, "Another template has this id", "Choose another id, or begin a draft of that template."
    ),
    "needs_confirmation": ProblemType(
        409,
        "Publishing needs your confirmation",
        "Inform the callers that consequences lists, then send the request again with confirm.",
    ),
    "already_scheduled": ProblemType(
        409, "Another version is scheduled", "Unschedule it first, or publish this version now."
    ),
    "same_approver": ProblemType(
        409, "You have approved this already", "Another person has to approve it; one person counts once."
    ),
    "gate_needs": ProblemType(
        422, "The gate's needs are not met", "Do what the detail names first, and approve it then."
    ),
    "conversation_claimed": ProblemType(
        409, "Somebody else has claimed this conversation", "Wait until it is released or the claim has lapsed."
    ),
    "conversation_not_claimed": ProblemType(
        409, "You have not claimed this conversation", "Claim it first; a claim lapses after a quarter of an hour."
    ),
    "conversation_closed": ProblemType(409, "The conversation is closed", "It opens again when the borrower writes."),
    "conversation_changed": ProblemType(
        409, "The conversation has changed", "Read it again, and send the answer with its present revision."
    ),
    "nobody_to_answer": ProblemType(
        409, "There is no address to answer to", "The message that was replied to has been removed or erased."
    ),
    "not_permitted": ProblemType(
        409, "The policy does not permit this contact", "The reason is in the detail; nothing was sent."
    ),
    "nothing_to_roll_back": ProblemType(
        409, "There is no earlier version", "An operator can pause the template instead."
    ),
    "paused": ProblemType(409, "Paused by an operator", "Ask the operator, or wait; see /v1/controls."),
    "edited_meanwhile": ProblemType(
        412,
        "Changed by somebody else meanwhile",
        "Merge your text with the saved one (see current), and save it with the ETag of that.",
    ),
    "too_large": ProblemType(413, "The body is too large", "Send fewer notifications in one batch."),
    "unsupported_media_type": ProblemType(
        415, "The body is not declared as JSON", "Send Content-Type: application/json."
    ),
    "invalid_request": ProblemType(422, "The request is not valid", "Fix these fields."),
    "invalid_variables": ProblemType(
        422, "The template can't be rendered with these variables", "Fix these variables."
    ),
    "unknown_template": ProblemType(
        422, "Unknown template", "Use the id of a published template, and one of its versions if you name a version."
    ),
    "lint_errors": ProblemType(422, "The text has errors", "Fix the findings."),
    "revision_required": ProblemType(
        428, "If-Match is missing", "Send the ETag of the text that you edited in If-Match."
    ),
    "quota_exceeded": ProblemType(
        429,
        "The quota is exceeded",
        "Nothing was taken or stored. Send the same request again after the seconds in Retry-After.",
    ),
    "too_many_streams": ProblemType(429, "Too many streams are open", "Try again after the time in Retry-After."),
    "too_many_replies": ProblemType(
        429,
        "The borrower has written often in the last hour",
        "All of it is recorded. Show the lender's telephone number.",
    ),
    "too_many_tests": ProblemType(429, "Too many test messages", "Try again later; see the detail."),
    "idempotency_key_reused": ProblemType(
        422,
        "Idempotency key reused with another body",
        "Use a new key for a new request, or the same body to repeat one. A repetition that arrives while the first "
        "request is being stored waits and gets the same response.",
    ),
    "internal": ProblemType(
        500, "Internal error", "Report the request_id. It is safe to try again with the same idempotency key."
    ),
    "no_provider": ProblemType(503, "No provider is available", "Try again later; see the detail."),
    "unavailable": ProblemType(
        503, "The ledger is unavailable", "Nothing was stored. Try again after the time in Retry-After."
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


class ErrorBudget:
    """How many more errors one answer may list; several problems of a batch share it."""

    def __init__(self) -> None:
        self.left = _MOST_ERRORS
        # One for all items beyond: a batch of 1,000 wrong ones costs no more than their validation.
        self.unlisted = Problem("invalid_request", _UNLISTED)

    def spend(self, problem: Problem, found: int) -> Problem:
        """``problem`` with as many errors as are left. ``found``: how many there are, listed or not."""
        problem.errors = problem.errors[: self.left]
        self.left -= len(problem.errors)
        if len(problem.errors) < found:
            problem.detail = _UNLISTED
        return problem


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


# A text whose length is checked after its form is a "Value" with "items"; a list is a "List".
_TEXT_LENGTH = re.compile(r"Value should have (at (?:least|most) \d+) items? after validation")


def field_errors(
    errors: Iterable[Mapping[str, Any]], prefix: str = "", model: type[BaseModel] | None = None
) -> list[FieldError]:
    """pydantic's errors as ours. ``prefix`` is the pointer to the value that was validated, as a ``model``."""
    return [FieldError(prefix + pointer(error["loc"]), _words(error, model)) for error in errors]


def _words(error: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    if error["type"] == "extra_forbidden" and model is not None:
        *path, name = error["loc"]
        return _WORDS[error["type"]] + did_you_mean(str(name), _fields(model, path))
    if error["type"] == "string_pattern_mismatch":
        return "has characters or a form that is not allowed here; see /docs"
    length = _TEXT_LENGTH.match(str(error["msg"]))
    if length is not None:
        return f"must have {length[1]} characters"
    return _WORDS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")


def _fields(model: type[BaseModel], path: Iterable[str | int]) -> Sequence[str]:
    """The fields of the model at ``path``, as pydantic names places, below ``model``."""
    found: type[BaseModel] | None = model
    for name in path:
        if isinstance(name, str) and found is not None and name in found.model_fields:
            found = _model_in(found.model_fields[name].annotation)
    return list(found.model_fields) if found is not None else ()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as ``list[StepIn] | None`` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


def _of_parameters(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Parameters are pointed at as if the request were one document: ``/query/limit``, ``/path/kind``."""
    return field_errors({**error, "loc": [part for part in error["loc"] if part != "body"]} for error in errors)


def _allowed(request: Request) -> str:
    """``Allow``: every method of this address. Starlette names those of the first route alone."""
    routes = [each for each in iter_route_contexts(request.app.routes) if each.methods and hasattr(each, "path_regex")]
    first = next((each.path for each in routes if each.path_regex.match(request.scope["path"])), None)
    return ", ".join(sorted({method for each in routes if each.path == first for method in each.methods or ()}))


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
        headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
        return respond(Problem(kind, headers=headers), request_id(request))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(Unavailable, on_unavailable)
    app.add_exception_handler(InvalidData, on_invalid_data)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
