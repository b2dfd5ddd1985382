"""What callers send of webhooks: endpoints, and messages to send again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.api.requests.fields import Flag, Identifier, Instant, RequestModel, example


class WebhookEndpointIn(RequestModel):
    """An endpoint, and the types of the events that it gets from now on; no types: all of them."""

    model_config = example(
        url="https://case-system.example.com/hooks", types=["delivery.delivered", "borrower.opted_out"]
    )

    url: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[!-~]+$")]
    types: Annotated[
        list[Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z_.]+$")]], Field(max_length=50)
    ] = []


class ReplayIn(RequestModel):
    """Which messages to send again: these, or those since an instant; without ``all``, only those never delivered."""

    model_config = example(since="2026-11-24T00:00:00Z")

    ids: Annotated[list[Identifier], Field(max_length=1000)] = []
    since: Instant | None = None
    all: Flag = False
