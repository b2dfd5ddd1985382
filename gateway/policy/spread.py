"""Spreading released contacts over the start of a window, so that they are not a herd at its opening."""

from __future__ import annotations

from datetime import datetime, timedelta


def spread_release(until: datetime, window_end: datetime, rank: int, total: int, over: timedelta) -> datetime:
    """When number ``rank`` (0 is the oldest) of ``total`` contacts deferred to ``until`` should go.

    Evenly over ``over``, or over what the window leaves of it; never before ``until``, never at the window's end,
    and never an older one after a younger.
    """
    if not 0 <= rank < total:
        raise ValueError(f"rank {rank} of {total}")
    room = max(min(over, window_end - until), timedelta(0))
    return until + room * rank / total
