"""What a message says: the rendered parts of its texts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """A rendered message. A channel's parts fill the fields; those that it has no part for are empty."""

    text: str
    subject: str = ""
    html: str = ""
