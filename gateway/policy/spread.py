"""Spreading contacts over the time after a window opens, so that nobody's morning begins with a herd."""

from __future__ import annotations

from datetime import datetime, timedelta


def spread_release(opens: datetime, closes: datetime, rank: int, total: int, over: timedelta) -> datetime:
    """When the message with ``rank`` (0 is the oldest) of ``total`` goes, after a window that opens at ``opens``.

    The order of age is kept, the first goes at once, and none goes after the first half of the window.
    """
    if total <= 1 or not 0 <= rank < total:
        return opens
    room = min(over, (closes - opens) / 2)
    return opens + room * rank / total
