"""TOML from outside, refused where Python's parser would take minutes or end with another error than its own.

The parser's time grows with the square of the parts of a key: 98 kB of ``a.a.a…=1`` took it 87 seconds.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

_MOST_PARTS = 16  # of a key: what is written here has three. Our choice
# TOML 1.0's tokens as far as keys are concerned. Each alternative takes what it has begun, so that the scan is linear.
_TOKEN = re.compile(
    r'(?P<part>"""(?:\\.|[^\\"]|"(?!""))*+(?:""")?'
    r"|'''(?:[^']|'(?!''))*+(?:''')?"
    r'|"(?:\\.|[^"\\\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|[A-Za-z0-9_-]++)"
    r"|(?P<dot>\.)|(?P<space>[ \t]++)|#[^\n]*+|.",
    re.DOTALL,
)


def read_toml(text: str) -> dict[str, Any]:
    """The document. Raises TOMLDecodeError, also for keys, nesting and numbers beyond all use."""
    place = _too_long_key(text)
    if place is not None:
        line = text.count("\n", 0, place) + 1
        column = place - (text.rfind("\n", 0, place) + 1) + 1
        raise tomllib.TOMLDecodeError(f"A key has more than {_MOST_PARTS} parts (at line {line}, column {column})")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("It is nested too deeply") from None
    except ValueError:  # int() refuses more than 4,300 digits
        raise tomllib.TOMLDecodeError("A number has too many digits") from None


def _too_long_key(text: str) -> int | None:
    """Where the first key of too many parts becomes one."""
    parts, after_dot = 0, False
    for found in _TOKEN.finditer(text):
        if found["part"] is not None:
            parts, after_dot = (parts + 1 if after_dot else 1), False
            if parts > _MOST_PARTS:
                return found.start()
        elif found["dot"] is not None:
            after_dot = parts > 0
        elif found["space"] is None:
            parts, after_dot = 0, False
    return None
