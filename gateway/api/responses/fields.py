"""Fields that several answers share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

Details = Annotated[dict[str, JsonValue], Field(description="Depends on the kind.")]


NextCursor = Annotated[str | None, Field(description="The cursor of the next page; null on the last one.")]
