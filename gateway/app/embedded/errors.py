"""Why the embedded default cannot start, as one line that says what to do."""

from __future__ import annotations


class CannotStart(Exception):
    """Something outside of us is in the way. The message is one line, with the remedy, for the terminal."""
