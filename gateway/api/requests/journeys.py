"""What callers may send of journeys' definitions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.api.requests.fields import Flag, RequestModel, Text


class JourneySourceIn(RequestModel):
    """The text of a definition (TOML)."""

    source: Annotated[Text, Field(min_length=1, max_length=100_000)]


class JourneyMigrationIn(RequestModel):
    """To which version the open journeys of this one go; with ``dry_run`` only what would change."""

    to: Annotated[int, Field(ge=1, le=1_000_000)]
    dry_run: Flag = True
