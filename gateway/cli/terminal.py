"""Words from outside on a terminal, which acts on control characters: they are shown, and not obeyed."""

from __future__ import annotations

import re

# ECMA-48's C0 and C1 controls without line feed and tab, and what changes the direction of a line (UAX #9).
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with its control characters written out, such as ``\\x1b``."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
