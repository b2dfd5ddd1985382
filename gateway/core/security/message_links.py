"""The links that a message carries to its reader's own pages: a delivery's id and a signature, and no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MessageLinks:
    """``unsubscribe_url`` declines further messages; "" where the category has none. ``page_url``: preferences, help.

    Both are "" in a trial rendering, before there is a delivery.
    """

    unsubscribe_url: str = ""
    page_url: str = ""


NO_LINKS = MessageLinks()
