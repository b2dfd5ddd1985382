"""Random digits for identifiers, drawn for many at once: to ask the system for some lets other threads go first."""

from __future__ import annotations

import os
import secrets

_BYTES = 10  # 80 bits: nearly as many as UUIDv7 (RFC 9562) leaves after its version bits
_AT_ONCE = 64  # our choice

_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)  # or two processes would give the same


def random_hex() -> str:
    """Twenty digits that nobody can guess and nobody had before. Safe in any thread."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            fresh = secrets.token_hex(_BYTES * _AT_ONCE)
            _drawn.extend(fresh[at : at + 2 * _BYTES] for at in range(0, len(fresh), 2 * _BYTES))
