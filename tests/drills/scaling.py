"""The shipped rules on a faster clock: every duration in them divided by one factor, and nothing else changed.

Ranges, offsets, ``for`` and groups' intervals shrink together, so that an alert that needs an hour's history has it
within a drill. Thresholds stay, those in seconds too: what is late is late. Names of recorded series stay, so
``…:rate5m`` is then over seconds.
"""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# A range needs two samples to say anything; at a scrape each second four seconds have them for sure.
_SHORTEST_RANGE, _SHORTEST_WAIT = 4.0, 1.0

_RANGE = re.compile(r"(\[)(\d+)([smhd])(\])")
_WAIT = re.compile(r"((?:offset|for:|interval:|group_wait:|group_interval:|repeat_interval:) )(\d+)([smhd])\b()")


def scaled(text: str, factor: float) -> str:
    """A rule file, or Alertmanager's configuration, ``factor`` times as fast."""
    text = _RANGE.sub(lambda each: _shorter(each, factor, _SHORTEST_RANGE), text)
    return _WAIT.sub(lambda each: _shorter(each, factor, _SHORTEST_WAIT), text)


def _shorter(match: re.Match[str], factor: float, least: float) -> str:
    before, number, unit, after = match.groups()
    seconds = max(least, int(number) * _SECONDS[unit] / factor)
    return f"{before}{round(seconds * 1000)}ms{after}"
