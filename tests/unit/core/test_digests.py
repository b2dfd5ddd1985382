"""Versions of address digests: each follows from each other one, and from none without the key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.security.digests import SINGLE, DigestVersions
from gateway.core.security.signing import Signer

KEYS = [f"digest-key-of-a-test-000{n}".encode() for n in range(4)]
DIGESTS = st.binary(min_size=16, max_size=16).map(bytes.hex)
RINGS = st.integers(1, 4).flatmap(lambda size: st.integers(1, size).map(lambda writes: (size, writes)))


def _ring(size: int, writes: int) -> DigestVersions:
    return DigestVersions(KEYS[:size], writes)


@given(DIGESTS, st.lists(RINGS, max_size=8))
def test_a_digest_comes_back_from_every_version(digest: str, rings: list[tuple[int, int]]) -> None:
    """Whatever processes write it in turn, in whatever order keys are added, changed and changed back."""
    written = digest
    for size, writes in rings:
        ring = _ring(max(size, SINGLE.version_of(written)), writes)
        assert digest in ring.versions(written)
        written = ring.current(written)
        assert ring.version_of(written) == writes
        assert ring.versions(written)[0] == written
    assert _ring(4, 1).current(written) == digest


@given(DIGESTS, DIGESTS)
def test_two_addresses_stay_two(one: str, other: str) -> None:
    """No two addresses share a digest of any version."""
    ring = _ring(3, 3)
    assert bool(set(ring.versions(one)) & set(ring.versions(other))) == (one == other)


@given(st.text(max_size=40))
def test_what_is_no_digest_stays_as_it_is(text: str) -> None:
    """Whatever a column has, nothing raises."""
    ring = _ring(3, 2)
    if ring.version_of(text) == 0:
        assert ring.current(text) == text
        assert ring.versions(text) == (text,)


def test_versions_of_one_address_are_found_by_both_of_two_neighbours() -> None:
    """Processes before and after each step of a rotation find what the other one writes; a third key gives others."""
    steps = [
        b"first-key-of-a-test-0001",
        b"first-key-of-a-test-0001\ndigest:first-key-of-a-test-0001\ndigest2:second-key-of-a-test-02",
        b"first-key-of-a-test-0001\ndigest2:second-key-of-a-test-02\ndigest:first-key-of-a-test-0001",
    ]
    written = [Signer(each).digest("acme", "sms", "+12025550123") for each in steps]
    assert written[0] == written[1] != written[2]
    for mine, other in ((1, 2), (2, 1), (1, 0), (0, 1)):
        assert written[mine] in Signer(steps[other]).digest_versions.versions(written[other])
    stranger = steps[2].replace(b"second", b"a-third")
    assert Signer(stranger).digest("acme", "sms", "+12025550123") != written[2]
