"""Keyed digests of addresses, under a digest key that can be changed.

The first key makes a digest of an address by HMAC-SHA256. Each further key encrypts the digest that the keys before it
made (one block of AES, NIST FIPS 197), so every version of a digest follows from every other one: a row is found and
re-digested although its address has been erased, and no opt-out is lost. Whoever lacks the newest key can't find out by
trial which address a digest of the newest version stands for, also with all keys before it.

A digest of version 1 is 32 hexadecimal digits; one of version N from 2 on is ``N.`` and 32 digits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

if TYPE_CHECKING:
    from gateway.core.codec import StoredOptOut
    from gateway.core.facts import OptOut

DIGEST_HEX = 32  # 128 bits: no collisions among the addresses of a country, and one block of AES
_LAYER = b"digest-layer"
_DIGEST = re.compile(rf"(?:([2-9])\.)?[0-9a-f]{{{DIGEST_HEX}}}")


class _Layer:
    """A keyed permutation of digests: AES-256 of one block, which is its standard use as a pseudo-random permutation.

    The mode ECB repeats nothing here that a digest has to hide: equal addresses have equal digests by design.
    """

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._cipher = Cipher(algorithms.AES(hmac.digest(key, _LAYER, hashlib.sha256)), modes.ECB())

    def up(self, digits: str) -> str:
        return self._cipher.encryptor().update(bytes.fromhex(digits)).hex()

    def down(self, digits: str) -> str:
        return self._cipher.decryptor().update(bytes.fromhex(digits)).hex()


class DigestVersions:
    """The versions of address digests that this process knows, and the one that it writes. Thread-safe."""

    def __init__(self, keys: Sequence[bytes] = (b"",), writes: int = 1) -> None:
        """``keys`` are those of the versions 1, 2, …; ``writes`` is the version of all that is written."""
        self._layers = tuple(map(_Layer, keys[1:]))
        self.writes = writes

    @property
    def single(self) -> bool:
        """Whether there is one version only, so that no digest has to be looked at."""
        return not self._layers

    def current(self, digest: str) -> str:
        """This digest in the version that is written. What is no digest, such as "", stays as it is."""
        return digest if self.single else self._as(self.writes, digest)

    def versions(self, digest: str) -> tuple[str, ...]:
        """This digest in every version, the one that is written first."""
        if self.single:
            return (digest,)
        others = (number for number in range(1, len(self._layers) + 2) if number != self.writes)
        return tuple(dict.fromkeys(self._as(number, digest) for number in (self.writes, *others)))

    def version_of(self, digest: str) -> int:
        """Under which key it was made; 0 for what is no digest."""
        found = _DIGEST.fullmatch(digest)
        return int(found[1] or 1) if found else 0

    def named(self, keys: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
        """The tenant and digest of each (tenant, channel, digest), in every version, in order and each once.

        Without the channel: channels of one identity have one digest of an address.
        """
        return sorted({(tenant, each) for tenant, _, name in keys for each in self.versions(name)})

    def opt_out(self, opt_out: OptOut) -> OptOut:
        """The opt-out with its address in the version that is written."""
        if self.single or not opt_out.address:
            return opt_out
        return replace(opt_out, address=self.current(opt_out.address))

    def opt_outs(self, stored: list[StoredOptOut]) -> list[StoredOptOut]:
        """The same for stored ones."""
        return stored if self.single else [structs.replace(each, opt_out=self.opt_out(each.opt_out)) for each in stored]

    def _as(self, wanted: int, digest: str) -> str:
        number = self.version_of(digest)
        if not 1 <= number <= len(self._layers) + 1:
            return digest
        digits = digest[-DIGEST_HEX:]
        for layer in self._layers[number - 1 : wanted - 1]:
            digits = layer.up(digits)
        for layer in reversed(self._layers[wanted - 1 : number - 1]):
            digits = layer.down(digits)
        return digits if wanted == 1 else f"{wanted}.{digits}"


SINGLE = DigestVersions()

Current = Callable[[str], str]


def digests_of(connection: Any) -> DigestVersions:
    """The versions of the process whose database connection this is."""
    found: DigestVersions = connection.get_execution_options().get("digest_versions", SINGLE)
    return found
