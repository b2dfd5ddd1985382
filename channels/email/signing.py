"""DKIM signatures (RFC 6376), where the relay doesn't make them.

With RSA-2048 one takes 12 ms of pure Python; in a thread, so that the event loop gets its turns meanwhile.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_THREADS = 1  # more of them would only take turns
# What a reader sees, and what mailbox providers must find signed (RFC 8058 section 4 for unsubscribing).
_HEADERS = (
    *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version", b"Content-Type"),
    *(b"Reply-To", b"List-Unsubscribe", b"List-Unsubscribe-Post", b"Auto-Submitted"),
)


_PROBE = b"From: a@example.com\r\n\r\nIs the key usable?\r\n"  # signed at start and sent nowhere


class DkimSigner:
    """Signs for one domain with one key. Raises ValueError for a key file that can't be read, or can't sign."""

    def __init__(self, domain: str, selector: str, key_file: str) -> None:
        self._domain = domain.encode("idna")
        self._selector = selector.encode("ascii")
        try:
            self._key = Path(key_file).read_bytes()
        except OSError as error:
            raise ValueError(f"option dkim_key_file can't be read: {error.strerror}") from None
        try:
            self._sign(_PROBE)
        except Exception:  # the library has a dozen for a key that it can't use, whose texts may quote the file
            raise ValueError(
                "option dkim_key_file has no key that can sign: it must be an RSA private key in PEM, unencrypted, as "
                "openssl genrsa 2048 writes it (Ed25519, RFC 8463, is not supported)"
            ) from None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dkim")

    async def sign(self, raw: bytes) -> bytes:
        """The message with its signature before it. Raises what the library raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._sign, raw)

    def _sign(self, raw: bytes) -> bytes:
        import dkim

        lines = raw.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
        present = [name for name in _HEADERS if any(line.startswith(name.lower() + b":") for line in lines)]
        signature: bytes = dkim.sign(
            raw,
            self._selector,
            self._domain,
            self._key,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=present,
        )
        return signature + raw
