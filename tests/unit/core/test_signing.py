"""References and tokens that come back from outside: what is not ours is refused, whatever it is, and never raises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.security.signing import Signer, read_keys

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
    assert SIGNER.open_message_token(text) is None
    assert SIGNER.open_session_token(text) is None
    assert SIGNER.open_borrower_token(text, NOW) is None


OLD, NEW = b"first-key-of-a-test-0001", b"second-key-of-a-test-0002"
# A rotation, step by step, as each process has the secret; processes of two neighbouring steps run beside each other.
STEPS = [
    OLD,
    b"\n".join((OLD, NEW, b"digest:" + OLD)),
    b"\n".join((NEW, OLD, b"digest:" + OLD)),
    b"\n".join((NEW, b"digest:" + OLD)) + b"\n",
]


@pytest.mark.parametrize("step", range(len(STEPS) - 1))
def test_neighbouring_steps_of_a_rotation_accept_each_others_signatures(step: int) -> None:
    """References, unsubscribe, borrower, session and form tokens: old processes accept new ones', and the reverse."""
    for mine, other in ((STEPS[step], STEPS[step + 1]), (STEPS[step + 1], STEPS[step])):
        signs, verifies = Signer(mine), Signer(other)
        if step == len(STEPS) - 2 and mine == STEPS[step]:
            assert signs.reference("dlv_1", 1) == verifies.reference("dlv_1", 1)  # both sign with the new key
        later = NOW + timedelta(hours=1)
        assert verifies.open_reference(signs.reference("dlv_1", 1)) == ("dlv_1", 1)
        assert verifies.open_message_token(signs.message_token("dlv_1")) == "dlv_1"
        assert verifies.open_borrower_token(signs.borrower_token("acme", "B-1", later), NOW) == ("acme", "B-1")
        assert verifies.open_session_token(signs.session_token("abc")) == "abc"
        assert verifies.is_form_token("abc", signs.form_token("abc"))


def test_no_digest_changes_in_a_rotation_of_what_signs() -> None:
    """Addresses, API keys, sessions, topics and webhook secrets are found in every step."""

    def digests(secret: bytes) -> list[str]:
        signer = Signer(secret)
        return [
            signer.digest("acme", "sms", "+12025550123"),
            signer.key_digest("secret"),
            signer.session_digest("abc"),
            signer.sign_in_digest("user", "mei@example.com"),
            *signer.topics("acme", "B-1"),
            signer.webhook_secret("whe_1", 1),
            signer.key_checks()[1],
        ]

    assert all(digests(step) == digests(OLD) for step in STEPS)
    assert not set(digests(NEW)) & set(digests(OLD))


def test_the_newest_key_signs_and_a_removed_one_is_refused() -> None:
    """After the last step what the old key signed is no longer ours, although it still makes the digests."""
    old, during, after = Signer(STEPS[0]), Signer(STEPS[2]), Signer(STEPS[3])
    assert during.reference("dlv_1", 1) == Signer(NEW).reference("dlv_1", 1)
    assert after.open_reference(old.reference("dlv_1", 1)) is None
    assert during.open_reference(Signer(b"somebody else's key").reference("dlv_1", 1)) is None


@pytest.mark.parametrize(
    ("secret", "word"),
    [
        (b"", "1 to 8|digest:KEY"),
        (b"short", "16 characters"),
        (OLD + b"\n" + NEW, "digest:KEY"),
        (b"digest:" + OLD, "1 to 8"),
        (b"\n".join((NEW, b"digest:" + OLD, b"digest:" + NEW)), "digest:KEY"),
        (b"\n".join((NEW, b"digest:x")), "16 characters"),
        (b"\n".join((OLD, b"digest2:" + NEW)), "digest:KEY"),
        (b"\n".join((OLD, b"digest:" + OLD, b"digest3:" + NEW)), "none left out"),
        (b"\n".join((OLD, b"digest:" + OLD, b"digest2:" + NEW, b"digest2:" + OLD)), "each once"),
        (b"\n".join((*(OLD + b"%d" % n for n in range(9)), b"digest:" + OLD)), "1 to 8"),
    ],
)
def test_a_secret_that_is_ambiguous_or_weak_is_refused(secret: bytes, word: str) -> None:
    """With the remedy, and with no key in the message."""
    with pytest.raises(ValueError, match=word) as refused:
        read_keys(secret)
    assert OLD.decode() not in str(refused.value)
    assert "second-key" not in repr(read_keys(STEPS[1]))
