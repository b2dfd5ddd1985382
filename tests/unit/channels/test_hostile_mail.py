"""E-mails made to exhaust a worker: what exceeds a limit is refused, and the event loop is not blocked by parsing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.message import Message
from itertools import count
from threading import Event

import pytest

from channels.base import CallbackRequest, MalformedCallback
from channels.email import CHANNEL, parsing
from channels.email.reports import read_reports, return_path
from tests.support.providers.fake_servers import clock
from tests.support.providers.mails import REFERENCE, Back
from tests.support.waiting import LIMIT_SECONDS

HEAD = b"From: a@b.example\r\nMIME-Version: 1.0\r\n"
REPORT = HEAD + b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"


def _nested(depth: int) -> bytes:
    return HEAD + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(depth)
    )


HOSTILE = {
    "100,000 parts": (HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 100_000, "parts"),
    "nested 900 deep": (_nested(900), "parts"),
    "messages in messages": (HEAD + b"Content-Type: message/rfc822\n\n" * 900, "parts"),
    "30,000 reports": (REPORT + b"Action: failed\nStatus: 5.1.1\n\n" * 30_000, "parts"),
    "empty blocks": (REPORT + b"\n" * 900_000, "parts"),
    "21 reports": (
        REPORT + b"Original-Envelope-Id: " + REFERENCE.encode() + b"\n\n" + b"Action: failed\nStatus: 5.1.1\n\n" * 21,
        "reports",
    ),
    "too many headers": (b"A: b\n" * 150_000 + b"\nx", "headers"),
    "too large": (HEAD + b"\n" + b"x" * 1_000_000, "size"),
}


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give parsing minutes: on a busy machine it would exceed its time before the limit that a test is about."""
    monkeypatch.setattr(parsing, "SECONDS", LIMIT_SECONDS)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(("raw", "limit"), HOSTILE.values(), ids=HOSTILE.keys())
def test_each_limit_is_named(raw: bytes, limit: str) -> None:
    """Size, parts, depth, headers and reports are limited while they are read, and not afterwards."""
    values = {"host": "h", "domain": "lender.example", "from_address": "a@lender.example", "callback_token": "tok"}
    provider = CHANNEL.build("smtp", "relay", values, {"clock": clock})
    posted = CallbackRequest("http://x/", {"authorization": "Bearer tok"}, {}, raw)
    with pytest.raises(MalformedCallback, match=f"^limit of {limit}$"):
        provider.read_receipts(posted)


def test_time_is_limited() -> None:
    """A mail within all other limits that takes long is given up between two of its pieces."""
    ticks: Iterator[int] = count()
    with pytest.raises(parsing.TooComplex, match="time"):
        parsing.parse(HEAD + b"\n" + b"x\n" * 400_000, lambda: float(next(ticks)))


@pytest.mark.usefixtures("unhurried")
def test_a_long_header_is_cut_off() -> None:
    """A parameter list is parsed in quadratic time: half a megabyte of it would take minutes."""
    message = parsing.parse(b"Content-Type: multipart/mixed; " + b'a=";' * 200_000 + b"\n\nx")
    assert len(str(message["Content-Type"])) == parsing.MAX_HEADER
    assert message.get_boundary() is None


@pytest.mark.usefixtures("unhurried")
def test_own_words_are_looked_for_at_the_top_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounce detectors see 2,000 lines at most: 900 kB of short lines took them 19 s."""
    seen: list[int] = []

    def detect(message: Message) -> tuple[set[bytes], set[bytes]]:
        seen.append(str(message).count("\n"))
        return set(), set()

    monkeypatch.setattr("channels.email.reports.all_failures", detect)
    raw = HEAD + f"To: {return_path(REFERENCE, 'lender.example')}\n\n".encode() + b"x\n" * 450_000
    assert read_reports(raw, "lender.example") == []
    assert seen[0] <= 2_001


async def test_a_slow_mail_does_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the listener reads a mail, other tasks run: the reader waits for one of them here."""
    released, reading = Event(), Event()

    def slow(*_: object) -> list[object]:
        reading.set()
        assert released.wait(LIMIT_SECONDS)
        return []

    monkeypatch.setattr("channels.email.incoming.read_reports", slow)
    back = Back("smtp")
    await back.start()
    delivered = asyncio.create_task(back.deliver(b"x: y\r\n\r\n", return_path(REFERENCE, "lender.example")))
    async with asyncio.timeout(LIMIT_SECONDS):
        while not reading.is_set():  # noqa: ASYNC110 – set in the thread
            await asyncio.sleep(0.01)
    released.set()  # the loop runs although the mail is being read
    assert (await delivered)[0] == 250
    await back.stop()
