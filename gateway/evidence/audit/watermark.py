"""Up to which event the ledger is complete.

Sequence numbers are given out before a transaction commits, so below the newest event others may still appear.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

# A transaction is cut off after ten seconds (ledger/database.py); what is older than twelve is complete.
_COMPLETE_SECONDS = 12.0


class Watermark:
    """Remembers what was the newest event when, and so which are complete by now."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._marks: deque[tuple[float, int]] = deque()
        self._complete = 0

    def complete(self, newest: int) -> int:
        """The newest event number below which none can appear any more; 0 while that is not known yet."""
        self._marks.append((self._elapsed(), newest))
        while self._marks and self._elapsed() - self._marks[0][0] >= _COMPLETE_SECONDS:
            self._complete = self._marks.popleft()[1]
        return self._complete
