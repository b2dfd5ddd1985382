"""Verification of webhook messages (Standard Webhooks)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from .errors import GatewayError


class WebhookEvent(BaseModel):
    """A verified message. ``id`` is the same in each repetition: pass over those that were taken in already."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: str
    timestamp: AwareDatetime
    data: dict[str, Any]


class NotVerified(GatewayError):
    """The message is not the gateway's, was changed on its way, or is older than five minutes."""


def verify_webhook(secret: str, body: bytes, headers: Mapping[str, str]) -> WebhookEvent:
    """The message in a request. ``secret`` is the endpoint's; ``body`` is as it came, byte for byte.

    Raises NotVerified: answer 4xx. Answer 2xx within ten seconds otherwise, and work on it later.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        Webhook(secret).verify(body, lower)
        return WebhookEvent.model_validate({**json.loads(body), "id": lower["webhook-id"]})
    except (WebhookVerificationError, ValidationError, ValueError, TypeError) as error:
        raise NotVerified("the message is not the gateway's") from error
