"""Shares of counts, with their 95 % intervals. Pure.

The intervals are Wilson's (Wilson 1927, JASA 22:209), which hold for small numbers and for shares near 0 and 1.
"""

from __future__ import annotations

from math import sqrt

_Z = 1.959964  # the two-sided 95 % point of the normal distribution
# Below this a difference is not told: Wilson's interval of 30 is some 30 points wide. Our choice.
TOO_FEW = 30


def wilson(hits: int, number: int) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) of nothing."""
    if number == 0:
        return 0.0, 1.0
    share, z2 = hits / number, _Z**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = _Z * sqrt(share * (1 - share) / number + z2 / (4 * number**2)) / (1 + z2 / number)
    return max(0.0, middle - half), min(1.0, middle + half)
