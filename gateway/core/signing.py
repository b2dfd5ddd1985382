"""Keyed digests, references and tokens: everything that is derived from the one secret key.

Addresses appear outside the request body only as keyed digests (HMAC) made here. Callback URLs carry signed references,
which name a delivery and prove that this gateway wrote them.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime

_REFERENCE_BYTES = 12  # 96 bits of HMAC: RFC 2104 section 5 allows truncation to no less than 80
_DIGEST_HEX = 32  # 128 bits: no collisions among the addresses of a country


class Signer:
    """Signs with HMAC-SHA256 under one key, each purpose with its own prefix."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("GATEWAY_SECRET_KEY must have at least 16 characters; make one with: openssl rand -hex 32")
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)  # the key is hashed once, and not for each signature

    def _mac(self, purpose: str, *parts: str) -> bytes:
        mac = self._keyed.copy()
        mac.update("\x1f".join((purpose, *parts)).encode())
        return mac.digest()

    def digest(self, tenant: str, channel: str, address: str) -> str:
        """The stand-in for an address in the ledger: same address, same digest, for one tenant and channel."""
        return self._mac("address", tenant, channel, address).hex()[:_DIGEST_HEX]

    def topic(self, tenant: str, borrower_id: str) -> str:
        """The name of a borrower's publish/subscribe topic, which does not reveal who it is."""
        return self._mac("topic", tenant, borrower_id).hex()[:_DIGEST_HEX]

    def key_digest(self, secret: str) -> str:
        """What the ledger keeps of an API key's secret part."""
        return self._mac("api-key", secret).hex()

    def key_check(self) -> str:
        """Shows whether two keys are the same, and nothing of either. Goes into backups."""
        return self._mac("key-check").hex()[:_DIGEST_HEX]

    def reference(self, delivery_id: str, attempt: int) -> str:
        """``<delivery id>.<attempt>.<signature>``: goes to the provider and comes back with its callbacks."""
        return (
            f"{delivery_id}.{attempt}.{self._mac('reference', delivery_id, str(attempt)).hex()[: _REFERENCE_BYTES * 2]}"
        )

    def open_reference(self, reference: str) -> tuple[str, int] | None:
        """The delivery id and attempt of a reference of ours; None for anything else."""
        delivery_id, _, rest = reference.partition(".")
        number, _, _ = rest.partition(".")
        if not number.isdigit() or not hmac.compare_digest(
            self.reference(delivery_id, int(number)).encode(), reference.encode()
        ):
            return None
        return delivery_id, int(number)

    def unsubscribe_token(self, delivery_id: str) -> str:
        """``<delivery id>.<signature>``: the right to stop messages at that delivery's address, and no other right."""
        return f"{delivery_id}.{self._mac('unsubscribe', delivery_id).hex()[: _REFERENCE_BYTES * 2]}"

    def open_unsubscribe_token(self, token: str) -> str | None:
        """The delivery id of a token of ours; None for anything else."""
        delivery_id = token.partition(".")[0]
        known = hmac.compare_digest(self.unsubscribe_token(delivery_id).encode(), token.encode())
        return delivery_id if known else None

    def borrower_token(self, tenant: str, borrower_id: str, expires_at: datetime) -> str:
        """A token with which one borrower's app reads its own feed until ``expires_at``."""
        body = "\x1f".join((tenant, borrower_id, str(int(expires_at.timestamp()))))
        encoded = urlsafe_b64encode(body.encode()).decode().rstrip("=")
        return f"bt_{encoded}.{self._mac('borrower', body).hex()}"

    def open_borrower_token(self, token: str, now: datetime) -> tuple[str, str] | None:
        """The tenant and borrower of a valid token; None where it is forged, damaged or expired."""
        encoded, _, signature = token.removeprefix("bt_").partition(".")
        try:
            body = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except ValueError:
            return None
        if not hmac.compare_digest(self._mac("borrower", body).hex().encode(), signature.encode()):
            return None
        tenant, borrower_id, expires = body.split("\x1f")
        if datetime.fromtimestamp(int(expires), UTC) <= now:
            return None
        return tenant, borrower_id

    def webhook_secret(self, endpoint_id: str, version: int) -> str:
        """What signs the messages to a case system's endpoint, as Standard Webhooks writes it."""
        return f"whsec_{b64encode(self._mac('webhook', endpoint_id, str(version))).decode()}"

    def session_token(self, session_id: str) -> str:
        """``<session id>.<signature>``: what a browser keeps of a session, so that made-up ones cost no SQL."""
        return f"{session_id}.{self._mac('session', session_id).hex()}"

    def open_session_token(self, token: str) -> str | None:
        """The session id of a token of ours; None for anything else."""
        session_id = token.partition(".")[0]
        known = hmac.compare_digest(self.session_token(session_id).encode(), token.encode())
        return session_id if known else None

    def form_token(self, session_id: str) -> str:
        """What every form of a session carries, to show that the form was ours."""
        return self._mac("form", session_id).hex()

    def sign_in_digest(self, kind: str, value: str) -> str:
        """The stand-in for who tried to sign in (``user``, ``source``), and for a session (``session``)."""
        return self._mac("sign-in", kind, value).hex()
