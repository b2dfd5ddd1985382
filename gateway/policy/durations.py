"""ISO 8601 durations of fixed length, as packs write them: ``PT4H``, ``PT5M``, ``P60D``.

A day here is 24 hours of elapsed time; days of the calendar are counted elsewhere and by name.
"""

from __future__ import annotations

import re
from datetime import timedelta

_FORM = re.compile(r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?)?")


def parse_duration(text: str) -> timedelta:
    found = _FORM.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"not a duration like PT4H: {text!r}")
    return timedelta(**{unit: int(amount) for unit, amount in found.groupdict().items() if amount is not None})
