"""Shares of a version against those of the version before: intervals, and when there is too little to tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.templates.workflow.results import MEASURES, VersionCounts, compared, difference_interval

_COUNTS = st.integers(1, 10_000).flatmap(lambda number: st.tuples(st.integers(0, number), st.just(number)))


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    """To the four digits that the paper prints."""
    assert difference_interval(one, other) == pytest.approx((low, high), abs=5e-5)


@given(_COUNTS, _COUNTS)
def test_an_interval_holds_its_difference_and_turns_with_it(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Within -1 and 1; the other way round it is the same with the other sign."""
    low, high = difference_interval(one, other)
    share = one[0] / one[1] - other[0] / other[1]
    assert -1 - 1e-9 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1 + 1e-9
    assert difference_interval(other, one) == pytest.approx((-high, -low))


def test_few_messages_are_too_few_to_tell() -> None:
    """On either side; and without a version before, or any message, nothing is compared."""
    many = VersionCounts(requests=400, sent=400, delivered=390, replied=40, paid=120)
    better = VersionCounts(requests=400, sent=400, delivered=391, replied=80, paid=122)
    found = {each.measure: each for each in compared(better, many)}
    assert list(found) == list(MEASURES)
    assert (found["replied"].too_few, found["replied"].clear) == (False, True)
    assert found["replied"].difference == pytest.approx(0.1)
    assert (found["delivered"].too_few, found["delivered"].clear) == (False, False)
    few = VersionCounts(requests=29, sent=29, delivered=29)
    assert all(each.too_few and each.difference is None for each in compared(few, many))
    assert all(each.too_few and each.difference is None for each in compared(many, few))
    alone = compared(many, None)
    assert not any(each.too_few or each.clear for each in alone)
    assert [each.share for each in compared(VersionCounts(), many)] == [None] * len(MEASURES)
