"""What the API answers: the borrower's feed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.responses.fields import NextCursor


class InboxItemOut(BaseModel):
    id: int
    title: str
    text: str
    at: datetime
    read_at: datetime | None
    archived_at: datetime | None


class InboxOut(BaseModel):
    items: list[InboxItemOut]
    unread_count: int
    next_cursor: NextCursor


class UnreadOut(BaseModel):
    unread_count: int


class InboxReplyOut(BaseModel):
    answer: Annotated[str, Field(description="Shown to the borrower at once; empty where nothing is to be said.")]


class ReadAllOut(UnreadOut):
    read: Annotated[int, Field(description="How many were marked read.")]
