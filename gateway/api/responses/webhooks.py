"""What the API answers: webhook endpoints and their messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from gateway.api.responses.fields import NextCursor
from gateway.core.states import WebhookOutcome


class WebhookEndpointOut(BaseModel):
    id: str
    url: str
    types: list[str]
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    previous_secret_until: datetime | None
    last_sequence: int


class WebhookSecretOut(WebhookEndpointOut):
    """An endpoint with its secret, which is shown this once."""

    secret: Annotated[str, Field(description="whsec_…, for a verifier of Standard Webhooks.")]


class WebhookEndpointListOut(BaseModel):
    webhook_endpoints: list[WebhookEndpointOut]


class WebhookMessageOut(BaseModel):
    """A message of the delivery log, with the outcome of its last attempt."""

    id: str
    sequence: int
    type: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: datetime
    attempted_at: datetime | None
    outcome: WebhookOutcome | None
    status: Annotated[int | None, Field(description="The HTTP status that it was answered with.")]
    next_attempt_at: datetime | None
    body: Any


class WebhookMessageListOut(BaseModel):
    messages: list[WebhookMessageOut]
    next_cursor: NextCursor


class ReplayedOut(BaseModel):
    id: str
    replayed: int
