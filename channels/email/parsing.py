"""Mail from outside, parsed within limits.

Owns how much of a foreign mail is looked at. Python's email package has no limits: 900 kB with 100,000 parts took it
17 s, 52 kB nested 900 deep 2.3 s (measured). Its own hooks are used to stop it: each part, each block of a
delivery-status and each nested message is made by a factory, which counts them, and the mail is fed in pieces, between
which the clock is read. Meant to run in a thread: a mail within the limits still takes up to ``SECONDS``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.feedparser import BytesFeedParser
from email.message import Message as MimeMessage
from typing import Any

LARGEST = 1_000_000  # octets; our choice: a report with the headers, or all, of one of our own mails
MAX_PARTS = 100  # parts, blocks of reports and nested messages together; our choice: reports have 4 and 1 per recipient
MAX_HEADERS = 1_000  # in the whole mail; our choice: mail that went through ten servers has some 60
MAX_HEADER = 4_000  # characters, the rest is cut off: parsing a parameter list is quadratic; our choice
SECONDS = 2.0  # our choice: ten times what 1 MB of ordinary mail takes
_PIECE = 8_192  # octets between two looks at the clock: at worst some 0.1 s of work (measured)


class TooComplex(Exception):
    """The mail exceeds a limit. The text names which: size, parts, headers or time."""


def parse(raw: bytes, clock: Callable[[], float] = time.monotonic) -> MimeMessage:
    """The mail as ``email.message_from_bytes`` would have it. Raises TooComplex."""
    if len(raw) > LARGEST:
        raise TooComplex("size")
    budget = _Budget()
    deadline = clock() + SECONDS
    parser: Any = BytesFeedParser(budget.part)
    for start in range(0, len(raw), _PIECE):
        parser.feed(raw[start : start + _PIECE])
        if clock() > deadline:
            raise TooComplex("time")
    message: MimeMessage = parser.close()
    return message


class _Budget:
    """How many parts and headers may still come."""

    def __init__(self) -> None:
        self.parts = MAX_PARTS
        self.headers = MAX_HEADERS

    def part(self, policy: Any = None) -> _Part:
        self.parts -= 1
        if self.parts < 0:
            raise TooComplex("parts")
        return _Part(self, policy)


class _Part(MimeMessage):
    """A part whose headers are counted and cut off."""

    def __init__(self, budget: _Budget, policy: Any) -> None:
        super().__init__(policy) if policy is not None else super().__init__()
        self._budget = budget

    def set_raw(self, name: str, value: str) -> None:  # how the parser adds a header
        self._budget.headers -= 1
        if self._budget.headers < 0:
            raise TooComplex("headers")
        super().set_raw(name, value[:MAX_HEADER])
