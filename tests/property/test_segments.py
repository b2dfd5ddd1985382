"""SMS segments, against the published tables of 3GPP TS 23.038 and with arbitrary texts."""

from __future__ import annotations

import gsm0338
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.templates import segments
from gateway.templates.rendering.sms_segments import REPLACEMENTS, split


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
        ("1\u202f234,50 €", "UCS-2", 10, 1),  # what number formats put between thousands
        ("“quoted”", "UCS-2", 8, 1),
        ("a" * 160 + "’", "UCS-2", 161, 3),  # one quote turns one segment into three
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 36, "UCS-2", 72, 2),
        ("好" * 65 + "😀" + "好" * 67, "UCS-2", 134, 2),  # here the pair just fits
        ("👨‍👩‍👧", "UCS-2", 8, 1),  # a family is three people and two joiners
        ("a" * 153 + "{" * 76 + "a", "GSM-7", 306, 2),
        ("€" * 76 + "a" + "€", "GSM-7", 155, 1),
        ("€" * 76 + "a" * 2 + "€" * 4, "GSM-7", 162, 2),
        ("\x1b", "UCS-2", 1, 1),  # the escape sign is no character
        ("ç", "UCS-2", 1, 1),  # GSM 7-bit has the capital only
        ("Ç", "GSM-7", 1, 1),
    ],
)
def test_published_edges(text: str, encoding: str, units: int, count: int) -> None:
    """The edges of the tables: 160/153 septets, 70/67 code units, pairs that are never split."""
    counted = segments(text)
    assert (counted.encoding, counted.units, counted.segments) == (encoding, units, count)


def test_the_alphabet_is_the_published_one() -> None:
    """Every character of the basic plane: one septet, two, or none, as an independent table has it."""
    table = gsm0338.Codec()
    for code in (*range(0xD800), *range(0xE000, 0x10000)):
        character = chr(code)
        if character == "\x1b":
            continue
        try:
            septets = len(table.encode(character)[0])
        except UnicodeError:
            septets = 0
        counted = segments(character)
        assert (counted.encoding, counted.units) == (("GSM-7", septets) if septets else ("UCS-2", 1)), hex(code)


def test_no_replacement_needs_ucs2_itself() -> None:
    """What we offer instead is in the alphabet, and what it replaces is not."""
    for character, instead in REPLACEMENTS.items():
        assert segments(character).encoding == "UCS-2"
        assert segments(instead).encoding == "GSM-7"


@pytest.mark.parametrize(
    ("text", "avoidable"),
    [("It’s 5 €", True), ("Hi 😀", True), ("1\u00a0000", True), ("好", False), ("It’s 好", False), ("plain", False)],
)
def test_only_what_can_be_written_otherwise_is_avoidable(text: str, avoidable: bool) -> None:
    """Nobody is told to leave out Chinese; a curly quote or an emoji in English is another matter."""
    assert segments(text).avoidable is avoidable


@given(st.text(max_size=400))
def test_the_pieces_are_the_text(text: str) -> None:
    """Put together, the segments are the text; none is longer than its segment carries, and none is empty."""
    pieces, counted = split(text), segments(text)
    assert "".join(pieces) == text
    assert len(pieces) == counted.segments
    limit = {"GSM-7": 160 if len(pieces) == 1 else 153, "UCS-2": 70 if len(pieces) == 1 else 67}[counted.encoding]
    for piece in pieces:
        units = (
            segments(piece).units
            if counted.encoding == "GSM-7"
            else len(piece.encode("utf-16-be", "surrogatepass")) // 2
        )
        assert 0 < units <= limit


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
