"""The OpenAPI document: what FastAPI can't see of routes that read their bodies themselves.

Adds request bodies, the keys that each route wants, and the problems that each can answer.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api import case_schemas, journey_schemas, schemas
from gateway.api.templates import schemas as template_schemas

_REF = "#/components/schemas/{model}"
_MODELS: tuple[type[BaseModel], ...] = (
    schemas.NotificationIn,
    schemas.BatchIn,
    schemas.HoldIn,
    schemas.OptOutIn,
    case_schemas.CasePutIn,
    case_schemas.PaymentIn,
    case_schemas.PromiseIn,
    case_schemas.PlanIn,
    case_schemas.CaseClosingIn,
    case_schemas.CaseBatchIn,
    journey_schemas.JourneySourceIn,
    journey_schemas.JourneyMigrationIn,
    schemas.ConsentIn,
    schemas.ReviewIn,
    schemas.ControlIn,
    schemas.RedriveIn,
    schemas.SuppressionIn,
    schemas.WebhookEndpointIn,
    schemas.ReplayIn,
    schemas.DecisionIn,
    template_schemas.BeginIn,
    template_schemas.SaveIn,
    template_schemas.CommentIn,
    template_schemas.ReasonIn,
    template_schemas.PublishIn,
    template_schemas.RollBackIn,
    template_schemas.TextIn,
    template_schemas.PreviewIn,
    template_schemas.TestSendIn,
    template_schemas.ImportIn,
)
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "/problems/<word>; open it for the remedy"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "request_id": {"type": "string"},
    },
}
_SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: ndg_…"},
    "borrowerToken": {"type": "http", "scheme": "bearer", "description": "A signed borrower token: bt_…"},
}
_UNKEYED = ("/v1/receipts", "/v1/inbound", "/v1/unsubscribe")  # signed instead
_STATUSES = ("400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428", "429", "500", "503")


def body(model: type[BaseModel]) -> dict[str, Any]:
    """For ``openapi_extra``: the route reads this model from its body."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def header(name: str, description: str) -> dict[str, Any]:
    """For ``openapi_extra``: the route reads this header, if it is there."""
    parameter = {"name": name, "in": "header", "required": False, "description": description}
    return {"parameters": [{**parameter, "schema": {"type": "string"}}]}


def install(app: FastAPI) -> None:
    """Have the application describe itself completely."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # as FastAPI documents it


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, definitions = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update({**definitions["$defs"], "Problem": _PROBLEM})
    components["securitySchemes"] = _SCHEMES
    content = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    for path, operations in document["paths"].items():
        scheme = _scheme(path)
        for operation in operations.values():
            if scheme:
                operation["security"] = [{scheme: []}]
            if path.startswith("/v1/"):
                for status in _STATUSES:
                    operation["responses"][status] = {"description": "A problem (RFC 9457)", "content": content}
    return document


def _scheme(path: str) -> str | None:
    if path.startswith("/v1/inbox"):
        return "borrowerToken"
    return "apiKey" if path.startswith("/v1/") and not path.startswith(_UNKEYED) else None
