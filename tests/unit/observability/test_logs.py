"""The log: what may be said is on a list, and nothing else comes out."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.core.reasons import PolicyReason
from gateway.observability import logs

# Numbers and names reserved for fiction and documentation.
PERSONAL = {
    "phone": "+12025550123",
    "address": "b1001@example.com",
    "name": "Chen Mei",
    "borrower_id": "B-1001",
    "body": "Dear Chen Mei, 3913.00 TWD are overdue",
    "url": "https://example.com/v1/receipts/sms?ref=dlv_1.1.abcdef",
    "token": "bt_c2VjcmV0",
}


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """The log of one test; afterwards logging is as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    stream = io.StringIO()
    logs.configure("DEBUG", stream=stream)
    yield stream
    root.handlers, root.level, logging.raiseExceptions = before[0], before[1], before[2]
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def _nothing_personal(out: io.StringIO) -> None:
    for value in PERSONAL.values():
        assert value not in out.getvalue()


def test_allowed_keys_come_out_as_one_json_line(out: io.StringIO) -> None:
    """An event is one object on one line, with level, logger and a UTC time."""
    log = structlog.get_logger("gateway.test")
    log.info("delivery deferred", delivery_id="dlv_1", reason=PolicyReason.HOLIDAY, count=3, data_dir=Path("var"))
    (line,) = _lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "delivery deferred",
        "level": "info",
        "logger": "gateway.test",
        "delivery_id": "dlv_1",
        "reason": "holiday",
        "count": 3,
        "data_dir": "var",
    }


def test_other_keys_are_dropped_and_counted(out: io.StringIO) -> None:
    """A key that is not on the list never comes out, whatever its value, and the loss is counted by key."""
    before, total = logs.dropped_keys(), logs.dropped()
    structlog.get_logger("gateway.test").info("sent", attempt=1, **PERSONAL)
    (line,) = _lines(out)
    assert set(line) == {"event", "level", "logger", "timestamp", "attempt"}
    _nothing_personal(out)
    assert logs.dropped() == total + len(PERSONAL)
    assert logs.dropped_keys()["phone"] == before.get("phone", 0) + 1


@pytest.mark.parametrize(
    "value",
    [{"to": PERSONAL["phone"]}, [PERSONAL["name"]], PERSONAL["body"] * 20, object(), PERSONAL["phone"].encode()],
    ids=["mapping", "list", "long text", "object", "bytes"],
)
def test_allowed_keys_hold_plain_short_values(out: io.StringIO, value: object) -> None:
    """Under an allowed key too, nothing comes out in which a body could hide."""
    structlog.get_logger("gateway.test").info("sent", reason=value)
    (line,) = _lines(out)
    assert "reason" not in line
    _nothing_personal(out)


def test_event_is_a_name_and_not_a_sentence_about_someone(out: io.StringIO) -> None:
    """A text built with data in it is replaced as a whole."""
    structlog.get_logger("gateway.test").info(f"sent to {PERSONAL['phone']}")
    assert _lines(out)[0]["event"] == "unnamed event"
    _nothing_personal(out)


class _ProviderError(Exception):
    code = 21211


def test_exception_is_class_code_and_place(out: io.StringIO) -> None:
    """Of an exception come class, code, place and the cause's class: no message, no traceback, no values."""
    phone = PERSONAL["phone"]
    try:
        try:
            raise KeyError(phone)
        except KeyError as error:
            raise _ProviderError(f"{phone} is not a mobile number") from error
    except _ProviderError:
        structlog.get_logger("gateway.test").exception("send failed", delivery_id="dlv_1")
    (line,) = _lines(out)
    assert line["error"].endswith("._ProviderError")
    assert line["error_code"] == "21211"
    assert line["error_at"].startswith(f"{__name__}:")
    assert line["caused_by"] == "KeyError"
    _nothing_personal(out)


@pytest.mark.parametrize("name", ["twilio.http_client", "aiosmtplib", "mail.log", "some.new.library", "asyncio"])
def test_libraries_say_where_and_not_what(out: io.StringIO, name: str) -> None:
    """A library's warning is one line with its logger and place; its text and its exception's text stay inside."""
    library = logging.getLogger(name)
    try:
        raise ValueError(PERSONAL["body"])
    except ValueError:
        library.warning("POST %s to=%s", PERSONAL["url"], PERSONAL["phone"], exc_info=True)
    library.error(f"to {PERSONAL['address']} failed")
    first, second = _lines(out)
    assert (first["event"], first["logger"], first["error"]) == ("library message", name, "ValueError")
    assert second["line"].startswith("test_logs:")
    _nothing_personal(out)


@pytest.mark.parametrize("name", ["twilio.http_client", "aiosmtplib", "mail.log", "arq.worker", "sqlalchemy.engine"])
def test_talkative_libraries_are_silent_below_warning(out: io.StringIO, name: str) -> None:
    """What these libraries say of each request is not said at all, even at level DEBUG."""
    logging.getLogger(name).info("To: %s", PERSONAL["phone"])
    assert out.getvalue() == ""


def test_access_logs_are_off(out: io.StringIO) -> None:
    """No line is made of a URL, for it names borrowers and carries signed references."""
    for name in ("uvicorn.access", "aiohttp.access"):
        logging.getLogger(name).error('%s - "GET %s"', "127.0.0.1", PERSONAL["url"])
    assert out.getvalue() == ""


def test_server_speaks_for_itself(out: io.StringIO) -> None:
    """uvicorn's own lines about itself are kept as they are."""
    logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "http://127.0.0.1:8080")
    assert _lines(out)[0]["event"] == "Uvicorn running on http://127.0.0.1:8080"


@pytest.mark.filterwarnings("default::UserWarning")
def test_broken_records_and_warnings_leak_nothing(out: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that can't be formatted is not printed with its arguments, nor a warning with its text."""
    logging.getLogger("some.library").warning("%d", PERSONAL["phone"])
    warnings.warn(PERSONAL["address"], UserWarning, stacklevel=1)
    _nothing_personal(out)
    printed = capsys.readouterr()
    assert PERSONAL["phone"] not in printed.err + printed.out
    assert PERSONAL["address"] not in printed.err + printed.out


def test_console_form_is_as_strict(out: io.StringIO) -> None:
    """The form for a terminal leaves out the same."""
    logs.configure("INFO", json=False, stream=out)
    structlog.get_logger("gateway.test").info("sent", attempt=2, **PERSONAL)
    assert "attempt=2" in out.getvalue()
    _nothing_personal(out)


def test_configuring_twice_doubles_nothing(out: io.StringIO) -> None:
    """However often it is called, an event is one line."""
    logs.configure("INFO", stream=out)
    structlog.get_logger("gateway.test").info("sent")
    assert len(_lines(out)) == 1


def test_a_batch_of_records_is_one_line_each(out: io.StringIO) -> None:
    """A logger that is bound once for a batch passes each record through the allow-list, and obeys the level."""
    log = structlog.get_logger("gateway").bind()
    for number in range(2):
        log.info("attempted", delivery_id=f"dlv_{number}", reason=PolicyReason.HOLIDAY, **PERSONAL)
    first, second = _lines(out)
    assert (first["delivery_id"], second["delivery_id"]) == ("dlv_0", "dlv_1")
    assert set(first) == {"event", "level", "logger", "timestamp", "delivery_id", "reason"}
    assert first["timestamp"].endswith("Z")
    _nothing_personal(out)
    logs.configure("WARNING", stream=out)
    structlog.get_logger("gateway").info("attempted", delivery_id="dlv_2")
    assert len(_lines(out)) == 2


@pytest.mark.parametrize("library", [True, False])
async def test_records_of_one_turn_are_written_together_and_in_order(out: io.StringIO, library: bool) -> None:
    """One write for a turn of the event loop; a warning or a library's record is there at once, and all before it."""
    log = structlog.get_logger("gateway.test")
    log.info("attempted", delivery_id="dlv_0")
    assert _lines(out) == []
    (logging.getLogger("some.library") if library else log).warning("late")
    log.info("attempted", delivery_id="dlv_1")
    assert [line["level"] for line in _lines(out)] == ["info", "warning"]
    await asyncio.sleep(0)
    assert [line.get("delivery_id") for line in _lines(out)] == ["dlv_0", None, "dlv_1"]
