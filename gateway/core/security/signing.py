"""Keyed digests, references and tokens: everything that is derived from the secret keys.

What leaves the gateway and comes back is signed, with a key that can be changed: the newest signs, and every key of the
ring verifies. What the ledger is searched by is a digest, under keys of its own that can be changed too (digests.py).
Addresses appear outside the request body only as keyed digests made here. Callback URLs carry signed references, which
name a delivery and prove that this gateway wrote them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.core.security.digests import DIGEST_HEX, DigestVersions

_WHOLE_HEX = 64  # all 256 bits
_REFERENCE_HEX = 24  # 96 bits of HMAC: RFC 2104 section 5 allows truncation to no less than 80
_ATTEMPT_DIGITS = 9  # an attempt's number is a 32-bit column

_SHORTEST_KEY = 16  # characters; the doctor asks for more
_MOST_KEYS = 8  # our choice: each costs a few microseconds for what is forged
_MOST_VERSIONS = 8  # our choice: a look-up asks for each
_DIGEST_LINE = re.compile(rb"digest([2-9]?):(.*)")


def own_identity(channel: str) -> str:
    """The identity of a channel that shares its addresses with no other."""
    return channel


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The secret's keys. The first of ``signing`` signs, each of them verifies.

    ``digests`` are the keys of the digests' versions 1, 2, …; ``writes`` is the version of what is written.
    """

    signing: tuple[bytes, ...] = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    writes: int = 1


def read_keys(secret: bytes) -> SecretKeys:
    """The keys of GATEWAY_SECRET_KEY: one key a line, the newest first, and ``digest:KEY`` for the digests' key.

    One key alone is for both. Further keys of digests are ``digest2:KEY``, ``digest3:KEY`` and so on; the first of the
    lines with digests' keys is the one that writes. Raises ValueError with the remedy, never with a key.
    """
    lines = [each.strip() for each in secret.splitlines() if each.strip()]
    found = [_DIGEST_LINE.fullmatch(each) for each in lines]
    signing = tuple(line for line, match in zip(lines, found, strict=True) if match is None)
    numbered = [(int(match[1] or 1), match[2]) for match in found if match is not None]
    if not numbered and len(signing) == 1:
        numbered = [(1, signing[0])]
    by_number = dict(numbered)
    if not numbered or len(by_number) != len(numbered) or sorted(by_number) != list(range(1, len(numbered) + 1)):
        raise ValueError(
            "GATEWAY_SECRET_KEY with several keys must name the one of the digests in one line digest:KEY; it is the "
            "key that was there alone. Those that came later follow as digest2:KEY, digest3:KEY, each once and none "
            "left out: see Keys in ops/deploy/README.md"
        )
    if not 1 <= len(signing) <= _MOST_KEYS:
        raise ValueError(f"GATEWAY_SECRET_KEY must have 1 to {_MOST_KEYS} keys besides that of the digests")
    if len(numbered) > _MOST_VERSIONS:
        raise ValueError(f"GATEWAY_SECRET_KEY must have at most {_MOST_VERSIONS} keys of digests")
    if min(map(len, (*signing, *by_number.values()))) < _SHORTEST_KEY:
        raise ValueError(
            f"GATEWAY_SECRET_KEY must have at least {_SHORTEST_KEY} characters in each key; make one with: "
            "openssl rand -hex 32"
        )
    return SecretKeys(signing, tuple(key for _, key in sorted(numbered)), numbered[0][0])


class _Macs:
    """HMAC-SHA256 under one key, each purpose with its own prefix."""

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)  # the key is hashed once, and not for each signature

    def __call__(self, purpose: str, *parts: str) -> bytes:
        mac = self._keyed.copy()
        mac.update("\x1f".join((purpose, *parts)).encode())
        return mac.digest()


class Signer:
    """Signs and digests with HMAC-SHA256 under the keys of a secret. Raises ValueError, see ``read_keys``.

    ``identity`` gives the identity of a channel's addresses: of channels with the same one, an address has one digest.
    """

    def __init__(self, secret: bytes, identity: Callable[[str], str] = own_identity) -> None:
        keys = read_keys(secret)
        self.identity = identity
        self._rings = tuple(map(_Macs, keys.signing))
        self._digest_macs = tuple(map(_Macs, keys.digests))
        self._mac = self._digest_macs[0]
        self.digest_versions = DigestVersions(keys.digests, keys.writes)

    def _sign(self, length: int, purpose: str, *parts: str) -> str:
        """A signature by the newest key, of ``length`` hexadecimal digits."""
        return self._rings[0](purpose, *parts).hex()[:length]

    def _verify(self, signature: str, length: int, purpose: str, *parts: str) -> bool:
        """Whether it is the signature by any key. Each is compared in constant time."""
        given = signature.encode("utf-8", "replace")
        return any(hmac.compare_digest(mac(purpose, *parts).hex()[:length].encode(), given) for mac in self._rings)

    def digest(self, tenant: str, channel: str, address: str) -> str:
        """The stand-in for an address in the ledger: same address, same digest, for one tenant and identity.

        In the version that is written; ``digest_versions`` has the others.
        """
        name = self._mac("address", tenant, self.identity(channel), address).hex()[:DIGEST_HEX]
        return self.digest_versions.current(name)

    def topics(self, tenant: str, borrower_id: str) -> tuple[str, ...]:
        """The names of a borrower's publish/subscribe topic, which do not reveal who it is; see ``FeedNotifier``.

        By the key of each version, the one that writes first: while it is changed, processes differ in which that is.
        """
        macs = (self._writing, *(each for each in self._digest_macs if each is not self._writing))
        return tuple(mac("topic", tenant, borrower_id).hex()[:DIGEST_HEX] for mac in macs)

    def key_digest(self, secret: str) -> str:
        """What the ledger keeps of an API key's secret part: by the first key, since it can't be guessed anyway."""
        return self._mac("api-key", secret).hex()

    def session_digest(self, session_id: str) -> str:
        """What the ledger keeps of a session's id: by the first key, since it can't be guessed anyway."""
        return self._mac("sign-in", "session", session_id).hex()

    def key_checks(self) -> dict[int, str]:
        """By version, up to the one that is written: shows whether two digest keys are the same, and nothing of either.

        Goes into the ledger.
        """
        return {number: check for number, check in self.known_key_checks().items() if number <= self.digest_version}

    def known_key_checks(self) -> dict[int, str]:
        """The same of all digest keys that this process has."""
        return {number: mac("key-check").hex()[:DIGEST_HEX] for number, mac in enumerate(self._digest_macs, 1)}

    @property
    def _writing(self) -> _Macs:
        return self._digest_macs[self.digest_versions.writes - 1]

    def reference(self, delivery_id: str, attempt: int) -> str:
        """``<delivery id>.<attempt>.<signature>``: goes to the provider and comes back with its callbacks."""
        return f"{delivery_id}.{attempt}.{self._sign(_REFERENCE_HEX, 'reference', delivery_id, str(attempt))}"

    def open_reference(self, reference: str) -> tuple[str, int] | None:
        """The delivery id and attempt of a reference of ours; None for anything else."""
        delivery_id, _, rest = reference.partition(".")
        number, _, signature = rest.partition(".")
        # int() refuses more than 4,300 digits, and "²", of which str.isdigit says that it is one; encode() refuses a
        # lone surrogate, which is what undecodable octets of a mail's header become.
        if not (reference.isascii() and number.isdigit() and len(number) <= _ATTEMPT_DIGITS):
            return None
        # The text as it was written: int() takes "01" for 1, and one attempt has one reference.
        canonical = str(int(number)) == number
        known = canonical and self._verify(signature, _REFERENCE_HEX, "reference", delivery_id, number)
        return (delivery_id, int(number)) if known else None

    def message_token(self, delivery_id: str) -> str:
        """``<delivery id>.<signature>``: the right to stop messages at that delivery's address, at any time.

        And for a time to the pages behind the message (gateway/borrowers/linked_messages.py).
        """
        return f"{delivery_id}.{self._sign(_REFERENCE_HEX, 'unsubscribe', delivery_id)}"

    def open_message_token(self, token: str) -> str | None:
        """The delivery id of a token of ours; None for anything else."""
        delivery_id, _, signature = token.partition(".")
        known = token.isascii() and self._verify(signature, _REFERENCE_HEX, "unsubscribe", delivery_id)
        return delivery_id if known else None

    def borrower_token(self, tenant: str, borrower_id: str, expires_at: datetime) -> str:
        """A token with which one borrower's app reads its own feed until ``expires_at``."""
        body = "\x1f".join((tenant, borrower_id, str(int(expires_at.timestamp()))))
        encoded = urlsafe_b64encode(body.encode()).decode().rstrip("=")
        return f"bt_{encoded}.{self._sign(_WHOLE_HEX, 'borrower', body)}"

    def open_borrower_token(self, token: str, now: datetime) -> tuple[str, str] | None:
        """The tenant and borrower of a valid token; None where it is forged, damaged or expired."""
        encoded, _, signature = token.removeprefix("bt_").partition(".")
        if not token.isascii():
            return None
        try:
            body = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except ValueError:
            return None
        if not self._verify(signature, _WHOLE_HEX, "borrower", body):
            return None
        tenant, borrower_id, expires = body.split("\x1f")
        if datetime.fromtimestamp(int(expires), UTC) <= now:
            return None
        return tenant, borrower_id

    @property
    def digest_version(self) -> int:
        """The version of the digest key that makes what is new."""
        return self.digest_versions.writes

    def webhook_secret(self, endpoint_id: str, version: int, key_version: int = 1) -> str:
        """What signs the messages to a case system's endpoint, as Standard Webhooks writes it.

        Derived from a digest key, because the case system has a copy of it: each endpoint's is changed by itself
        (``version``), with a day for the change, and takes the digest key that is in force then (``key_version``).
        """
        mac = self._digest_macs[key_version - 1]
        return f"whsec_{b64encode(mac('webhook', endpoint_id, str(version))).decode()}"

    def session_token(self, session_id: str) -> str:
        """``<session id>.<signature>``: what a browser keeps of a session, so that made-up ones cost no SQL."""
        return f"{session_id}.{self._sign(_WHOLE_HEX, 'session', session_id)}"

    def open_session_token(self, token: str) -> str | None:
        """The session id of a token of ours; None for anything else."""
        session_id, _, signature = token.partition(".")
        known = token.isascii() and self._verify(signature, _WHOLE_HEX, "session", session_id)
        return session_id if known else None

    def form_token(self, session_id: str) -> str:
        """What every form of a session carries, to show that the form was ours."""
        return self._sign(_WHOLE_HEX, "form", session_id)

    def is_form_token(self, session_id: str, token: str) -> bool:
        """Whether ``token`` is the session's, by whichever key it was made."""
        return self._verify(token, _WHOLE_HEX, "form", session_id)

    def sign_in_digest(self, kind: str, value: str) -> str:
        """The stand-in for who tried to sign in (``user``, ``source``, …). Failures are counted anew by a new key."""
        return self._writing("sign-in", kind, value).hex()

    def device_signature(self, nonce: str, email: str) -> str:
        """Shows that the gateway gave this nonce to a browser in which that person had signed in."""
        return self._sign(_WHOLE_HEX, "device", nonce, email)

    def is_device_signature(self, nonce: str, email: str, signature: str) -> bool:
        return self._verify(signature, _WHOLE_HEX, "device", nonce, email)

    def code_digest(self, conversation_id: str, code: str) -> str:
        """The stand-in for a one-time code: without the key a million codes are tried in a moment."""
        return self._sign(_WHOLE_HEX, "code", conversation_id, code)
