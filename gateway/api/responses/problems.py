"""What the API answers: problems (RFC 9457)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, JsonValue


class FieldErrorOut(BaseModel):
    pointer: Annotated[str, Field(description="RFC 6901, in the body; /query, /path and /header for parameters.")]
    detail: Annotated[str, Field(description="What is wrong with it, and the remedy.")]


class ProblemOut(BaseModel):
    """An error (RFC 9457). Some types have members of their own."""

    type: Annotated[str, Field(description="/problems/<word>; open it for the remedy.")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    request_id: str
    errors: Annotated[list[FieldErrorOut], Field(description="At most 50.")] = []
    violated_policies: Annotated[
        list[str], Field(alias="violated-policies", description="quota_exceeded: the limits.")
    ] = []
    current: Annotated[
        dict[str, JsonValue], Field(description="draft_exists, edited_meanwhile: the stored version with its files.")
    ] = {}
    findings: Annotated[list[dict[str, JsonValue]], Field(description="lint_errors: what the checks found.")] = []
    consequences: Annotated[
        list[dict[str, JsonValue]], Field(description="needs_confirmation: what publishing would cause.")
    ] = []
