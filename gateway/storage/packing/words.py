"""The words of an attempt as they are stored: deflated against a dictionary of what the shipped reminders say.

A text message has some 150 bytes, in which deflate alone finds nothing that repeats. Must not know what the words mean.
"""

from __future__ import annotations

import zlib

# Stored words can't be read without it: it never changes, and another one gets another mark. Deflate finds what stands
# near its end at the least cost (RFC 1951, 3.2.5).
_DICTIONARY = (
    'Your reminder Hello,\\n\\n","html":"<!doctype html>","subject":"","template":{"reference":"","language":"en_US",'
    '"parameters":[["'
    "】请就年月日到期的款项于前与我们联系。还款：https://仍未收到。您的款项NT$将于到期，尚未收到。帮助或分期：https://"
    "：請就年月日到期的款項於前與我們聯繫。繳款：https://仍未收到。您的款項NT$將於年月日到期。"
    ": please contact us about $ due , by . Pay here: https:// Need help?  To stop texts, reply STOP."
    " is still open. Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec 2026 is due on"
    ", ref **1: your payment of $.00 was due on 1, 2026. Hard to pay? https:// or +1 . Reply STOP to opt out."
    ' 案號**：您的款項$.00已於2026年月1日到期，尚未收到。協助或分期：https:// 或 +1 。"}{"salt":"","text":"'
).encode()
_WITH_DICTIONARY = b"\x07"  # no stream of deflate begins so: block type 3 is reserved (RFC 1951, 3.2.3)
# Raw, without zlib's header and checksum, which the database and the chain make superfluous. A window of 4 kB and
# little memory for what fits into it: five microseconds for a text message and not fifty (measured), and the same size.
_WINDOW_BITS, _SMALL_WINDOW_BITS, _LEVEL = -zlib.MAX_WBITS, -12, 6
_SMALL, _LITTLE_MEMORY = 4096 - len(_DICTIONARY), 5


def deflated(words: bytes, *, alone: bool = False) -> bytes:
    """Words as they are stored; ``alone``: without the dictionary, as the version before reads them."""
    if alone or len(words) > _SMALL:
        return zlib.compress(words, wbits=_WINDOW_BITS)
    packer = zlib.compressobj(
        _LEVEL, zlib.DEFLATED, _SMALL_WINDOW_BITS, _LITTLE_MEMORY, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY
    )
    return _WITH_DICTIONARY + packer.compress(words) + packer.flush()


def inflated(stored: bytes) -> bytes:
    """The words that are stored as these bytes."""
    if not stored.startswith(_WITH_DICTIONARY):
        return zlib.decompress(stored, wbits=_WINDOW_BITS)
    unpacker = zlib.decompressobj(_WINDOW_BITS, _DICTIONARY)
    return unpacker.decompress(stored[1:]) + unpacker.flush()
