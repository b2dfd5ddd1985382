"""SMS segments, against the published tables of 3GPP TS 23.038 and with arbitrary texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog import segments


@pytest.mark.parametrize(
    ("text", "encoding", "units", "count"),
    [
        ("", "GSM-7", 0, 0),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("a" * 152 + "€" + "a" * 8, "GSM-7", 162, 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),  # the escape pair does not fit and moves on
        ("{}[]^~|\\", "GSM-7", 16, 1),
        ("好" * 70, "UCS-2", 70, 1),
        ("好" * 71, "UCS-2", 71, 2),
        ("好" * 134, "UCS-2", 134, 2),
        ("好" * 135, "UCS-2", 135, 3),
        ("好" * 66 + "😀" + "好" * 66, "UCS-2", 134, 3),  # the surrogate pair moves on whole
        ("it\u2019s", "UCS-2", 4, 1),
        ("1\u00a0000", "UCS-2", 5, 1),
    ],
)
def test_published_edges(text: str, encoding: str, units: int, count: int) -> None:
    """The edges of the tables: 160/153 septets, 70/67 code units, pairs that are never split."""
    counted = segments(text)
    assert (counted.encoding, counted.units, counted.segments) == (encoding, units, count)


def test_what_forces_ucs2_is_named_with_its_replacement() -> None:
    """An editor is told which character makes the text dear, and what to write instead."""
    assert segments("it\u2019s ₹5").forcing == (("\u2019", "'"), ("₹", "Rs "))


@given(st.text(max_size=400))
def test_segments_are_enough_and_not_too_many(text: str) -> None:
    """However long: the segments hold all units, and one fewer would not, but for a unit lost at each edge."""
    counted = segments(text)
    alone, part = (160, 153) if counted.encoding == "GSM-7" else (70, 67)
    if counted.units <= alone:
        assert counted.segments == (1 if text else 0)
    else:
        assert counted.segments * part >= counted.units
        assert (counted.segments - 1) * (part - 1) < counted.units
