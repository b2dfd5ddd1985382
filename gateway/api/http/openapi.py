"""The OpenAPI document: what FastAPI can't see of routes that read their bodies themselves.

Adds request bodies, the keys that each route wants, the problems that each can answer, and the header fields that
every answer has. Problems follow from what an operation has (a key, a body, parameters); a route declares only what
does not follow, such as 409.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.http.problems import KINDS
from gateway.api.responses.problems import ProblemOut

_REF = "#/components/schemas/{model}"
# What routes read and what all of them may answer; ``body`` adds to it.
_MODELS: dict[type[BaseModel], None] = {ProblemOut: None}
_SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: ndg_…"},
    "borrowerToken": {"type": "http", "scheme": "bearer", "description": "A signed borrower token: bt_…"},
}
_UNKEYED = ("/v1/receipts", "/v1/inbound", "/v1/unsubscribe")  # signed instead
_TAGS = {
    "notifications": "Accept reminders, follow and cancel them.",
    "cases": "Feed cases: balances, payments, promises, plans; close them.",
    "journeys": "Definitions of journeys, and the cases on their way.",
    "borrowers": "Holds, opt-outs, consents and the record of one borrower.",
    "conversations": "What borrowers write back, and answering it.",
    "evidence": "Proof of what happened with one borrower.",
    "decisions": "What would be decided; nothing is stored.",
    "reviews": "What waits for a person.",
    "suppressions": "Addresses that are used for nobody.",
    "dead-letters": "Notifications that failed, and trying them again.",
    "controls": "Pauses and pins.",
    "administration": "The administrators' log.",
    "templates": "Texts and their approval.",
    "webhooks": "Telling case systems what happens.",
    "callbacks": "Receipts and replies from providers, signed by them.",
    "unsubscribe": "The borrower's link in e-mails.",
    "inbox": "The borrower's feed, with a borrower token.",
    "operations": "Health and readiness.",
}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_REQUEST_ID = {"X-Request-ID": {"description": "The request's id: the caller's own, or a new one.", **_TEXT}}
_RATE_LIMIT = {
    "RateLimit-Policy": {"description": "The quotas that this request was charged to.", **_TEXT},
    "RateLimit": {"description": "What is left of each of them, and when it is full again.", **_TEXT},
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}}
_LINK = {"Link": {"description": 'The next page (RFC 8288, rel="next"); not on the last one.', **_TEXT}}
_PROBLEM_HEADERS: Mapping[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "The scheme to use.", **_TEXT}},
    405: {"Allow": {"description": "The methods that this address has.", **_TEXT}},
    429: {**_RETRY_AFTER, **_RATE_LIMIT},
    503: _RETRY_AFTER,
}


def body(model: type[BaseModel]) -> dict[str, Any]:
    """For ``openapi_extra``: the route reads this model from its body."""
    _MODELS[model] = None
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def header(name: str, description: str) -> dict[str, Any]:
    """For ``openapi_extra``: the route reads this header, if it is there."""
    return {"parameters": [{"name": name, "in": "header", "required": False, "description": description, **_TEXT}]}


def answer_header(name: str, description: str) -> dict[str, Any]:
    """For an entry of ``responses``: the answer has this header field."""
    return {"headers": {name: {"description": description, **_TEXT}}}


def install(app: FastAPI) -> None:
    """Have the application describe itself completely."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # as FastAPI documents it


def operation_id(route: APIRoute) -> str:
    """The operation's id is its route's name: a verb and what it is about."""
    return route.name


def _document(app: FastAPI) -> dict[str, Any]:
    tags = [{"name": name, "description": description} for name, description in _TAGS.items()]
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=app.servers,
        tags=tags,
    )
    _, definitions = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own words for 422
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = _SCHEMES
    components["responses"] = {_name(status): _problem(status) for status in _STATUSES}
    for path, operations in document["paths"].items():
        scheme = _scheme(path)
        for operation in operations.values():
            if scheme:
                operation["security"] = [{scheme: []}]
            _complete(operation, scheme, versioned=path.startswith("/v1/"))
    return document


def _complete(operation: dict[str, Any], scheme: str | None, *, versioned: bool) -> None:
    """Add the problems that follow from what the operation has, and every answer's header fields."""
    responses = operation["responses"]
    responses.pop("422", None)
    if versioned:
        declared = {int(status) for status, each in responses.items() if status >= "400" and "content" not in each}
        for status in sorted(_follows(operation, scheme) | declared):
            responses[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    for response in responses.values():
        if "$ref" not in response:
            headers = response.setdefault("headers", {})
            headers.update({**_REQUEST_ID, **(_RATE_LIMIT if scheme else {})})
            if "cursor" in {each["name"] for each in operation.get("parameters", ())}:
                headers.update(_LINK)


def _follows(operation: dict[str, Any], scheme: str | None) -> set[int]:
    """The problems that an operation can answer by what it has."""
    parameters = {(each["in"], each["name"]) for each in operation.get("parameters", ())}
    found = {500, 503}
    if scheme:
        found |= {401, 429} if scheme == "borrowerToken" else {401, 403, 429}
    if parameters or "requestBody" in operation:
        found.add(422)
    if any(place == "path" for place, _ in parameters):
        found.add(404)
    if "requestBody" in operation:
        found |= {400, 413, 415} if scheme else {400, 413}  # a callback's body is in the provider's own form
    if ("header", "If-Match") in parameters:
        found |= {412, 428}
    return found


_STATUSES = sorted({each.status for each in KINDS.values()})


def _name(status: int) -> str:
    """As ``NotFound`` for 404."""
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _problem(status: int) -> dict[str, Any]:
    """The answer with this status: its problem types, its header fields, and its body."""
    kinds = [f"`{kind}`: {each.title}." for kind, each in KINDS.items() if each.status == status]
    return {
        "description": " ".join(kinds),
        "headers": {**_REQUEST_ID, **_PROBLEM_HEADERS.get(status, {})},
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model=ProblemOut.__name__)}}},
    }


def _scheme(path: str) -> str | None:
    if path.startswith("/v1/inbox"):
        return "borrowerToken"
    return "apiKey" if path.startswith("/v1/") and not path.startswith(_UNKEYED) else None
