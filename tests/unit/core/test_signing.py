"""References and tokens that come back from outside: what is not ours is refused, whatever it is, and never raises."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.signing import Signer

SIGNER = Signer(b"a key of the tests")
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_a_reference_of_ours_opens() -> None:
    """Delivery and attempt come back as they were signed."""
    assert SIGNER.open_reference(SIGNER.reference("dlv_1", 12)) == ("dlv_1", 12)


@pytest.mark.parametrize(
    "reference", ["x.²", "x.٣.y", "x." + "9" * 5000, "x.1.\ud800", "\udce9.1.x", "", ".", "..", "x", "x.-1.y", "x.1.y"]
)
def test_no_reference_from_outside_raises(reference: str) -> None:
    """Digits that int() refuses, too many of them, undecodable octets: all of it is simply not ours."""
    assert SIGNER.open_reference(reference) is None


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_from_outside_opens_or_raises(text: str) -> None:
    """For every text there is, lone surrogates included, each kind of token answers None."""
    assert SIGNER.open_reference(text) is None
    assert SIGNER.open_unsubscribe_token(text) is None
    assert SIGNER.open_session_token(text) is None
    assert SIGNER.open_borrower_token(text, NOW) is None
