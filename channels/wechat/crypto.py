"""How WeChat signs and encrypts what it sends: SHA-1 over sorted strings, AES-256-CBC.

Source: WeChat's developer documentation, "message encryption and decryption". Must not know what a message says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = 32  # bytes to which WeChat pads, by PKCS#7; the cipher's own block has 16
_RANDOM = 16  # bytes before the length


def signature(*parts: str) -> str:
    """SHA-1 of the parts, sorted and joined: token, timestamp, nonce, and the encrypted text where there is one."""
    return hashlib.sha1("".join(sorted(parts)).encode("utf-8", "surrogateescape")).hexdigest()


class WeChatCipher:
    """Decrypts messages. Raises ValueError for a key that is not 43 characters of Base64."""

    def __init__(self, encoding_aes_key: str) -> None:
        try:
            self._key = base64.b64decode(encoding_aes_key + "=", validate=True)
        except binascii.Error:
            self._key = b""
        if len(self._key) != 32:
            raise ValueError("the key must have 43 characters of Base64")

    def decrypt(self, encrypted: str) -> tuple[bytes, str]:
        """The message, and the id of the account that it is for. Raises ValueError."""
        raw = base64.b64decode(encrypted, validate=True)
        if not raw or len(raw) % _RANDOM:
            raise ValueError("no whole blocks")
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(self._key[:16])).decryptor()
        padded = decryptor.update(raw) + decryptor.finalize()
        padding = padded[-1]
        if not 1 <= padding <= _BLOCK or padding >= len(padded):
            raise ValueError("padding")
        plain = padded[_RANDOM:-padding]
        length = int.from_bytes(plain[:4], "big")
        if length > len(plain) - 4:
            raise ValueError("length")
        return plain[4 : 4 + length], plain[4 + length :].decode()
