"""Logs: one JSON object a line, made of an event's name and a closed list of keys.

Owns the allow-list of what may be in a log record; borrowers' data may not. Nothing is masked: a key that is not on the
list is left out and counted. Exceptions appear as class, code and place, because their messages quote data; libraries'
messages do too, so of those only the logger, the level and the line of code are kept. Must not know the rest of the
gateway.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import nullcontext
from contextvars import ContextVar
from datetime import datetime
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from types import TracebackType
from typing import Any, TextIO

import msgspec
import structlog

# Every key here holds an id of ours, a word of a closed list, a number or a time. Before adding a key, check that a
# borrower's number, address, name, text or a secret can never be its value.
ALLOWED = frozenset(
    {
        *("event", "level", "timestamp", "logger", "line", "trace_id", "span_id"),
        *("error", "error_code", "error_at", "caused_by"),
        *("tenant", "request_id", "notification_id", "delivery_id", "attempt", "fence", "step", "key_id", "event_id"),
        "actor",  # an id of a key, a person or an operating system's account, after its kind
        *("channel", "provider", "provider_kind", "template", "template_version", "category", "pack", "rule"),
        *("state", "outcome", "reason", "code", "verdict", "when", "kind", "status", "result", "operation", "stage"),
        *("method", "route", "status_code", "seconds", "milliseconds", "lag_seconds", "wait_seconds"),
        *("count", "size", "due", "triggered", "accepted", "rejected", "remaining", "limit", "workers"),
        *("version", "revision", "environment", "mode", "host", "port", "pid", "signal", "data_dir", "at"),
    }
)
_LONGEST = 200  # no id, word or path of ours is longer; a body would be
_EVENT = re.compile(r"[a-z][a-z_. -]{0,79}")  # a name without digits, which could be a phone number's
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,40}")
# Their messages are about themselves: listening addresses, applied revisions.
_SPEAK_FOR_THEMSELVES = frozenset({"uvicorn", "uvicorn.error", "alembic.runtime.migration"})
# Below WARNING these quote URLs, headers, recipients, statements or arguments.
_QUIET = ("twilio", "aiosmtplib", "mail.log", "arq", "sqlalchemy", "httpx", "httpcore", "aiohttp", "asyncio")

_dropped: Counter[str] = Counter()
_context: Callable[[], Mapping[str, str]] | None = None
_encode = msgspec.json.Encoder().encode
_TIMESTAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)
_SHORT_TYPES = (int, float, type(None))  # a bool is an int
_PLAIN_TYPES = frozenset({str, bool, *_SHORT_TYPES})

Event = MutableMapping[str, Any]

# The request that this task answers. Not for a task that works on a batch: it inherits the first request's.
request_id: ContextVar[str] = ContextVar("request_id", default="")


def add_context(context: Callable[[], Mapping[str, str]] | None) -> None:
    """Add the keys of ``context()`` to every record: the trace's ids. None: add nothing any more."""
    global _context
    _context = context


def dropped() -> int:
    """How many keys and texts were left out of this process's log."""
    return _dropped.total()


def dropped_keys() -> Mapping[str, int]:
    """The same by key, to find the records to fix."""
    return dict(_dropped)


def configure(level: str = "INFO", json: bool = True, stream: TextIO | None = None) -> None:
    """Write this process's logs, ours and the libraries', to ``stream`` (stderr). May be called again.

    uvicorn must be started with ``log_config=None, access_log=False``, or it puts its own handlers back.
    """
    handler = _Handler(stream or sys.stderr)
    shape: list[structlog.typing.Processor] = [_add_context, _describe_exception, keep_allowed]
    render = (
        structlog.processors.JSONRenderer(serializer=_json) if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            _TIMESTAMP,
            *shape,
            render,
        ],
        # Rendered here and not by the standard library's logging: a third of its time for each record (measured).
        logger_factory=lambda name="gateway": _Logger(name, handler),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=False,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                _TIMESTAMP,
                _from_library,
                *shape,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
            keep_exc_info=False,
            keep_stack_info=False,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    _tame_libraries()
    # A record that can't be formatted would otherwise be printed with its arguments, and warnings as they come.
    logging.raiseExceptions = False
    logging.captureWarnings(True)


def _json(record: Mapping[str, Any], **_options: Any) -> str:
    return _encode(record).decode()


class _Logger:
    """Takes rendered lines of one logger to the handler."""

    def __init__(self, name: str, handler: _Handler) -> None:
        self.name = name
        self._handler = handler

    def _line(self, line: str) -> None:
        self._handler.hold(line)

    def _urgent_line(self, line: str) -> None:
        self._handler.hold(line)
        self._handler.flush()

    debug = info = _line
    warning = error = critical = _urgent_line


class _Handler(logging.StreamHandler[TextIO]):
    """The one handler: whole lines, in the order in which they were logged.

    What is logged in one turn of the event loop is written at its end, in one write: each write lets other threads go
    first. A warning or an error, and a library's record, is written at once, with what was logged before it.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._held: list[str] = []
        self._writes_soon: asyncio.AbstractEventLoop | None = None

    def hold(self, line: str) -> None:
        """Write a line at the end of this turn of the event loop; at once where none runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self.lock or nullcontext():
            self._held.append(line)
            if loop is None:
                self.flush()
            elif self._writes_soon is not loop:
                self._writes_soon = loop
                loop.call_soon(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        self._write_held()
        super().emit(record)

    def flush(self) -> None:
        with self.lock or nullcontext():
            self._write_held()
            super().flush()

    def _write_held(self) -> None:
        self._writes_soon = None
        held, self._held = self._held, []
        if held:
            self.stream.write("\n".join([*held, ""]))


def _tame_libraries() -> None:
    # An access log is a list of URLs, which contain borrowers' ids and signed references.
    for name in ("uvicorn.access", "aiohttp.access"):
        logging.getLogger(name).disabled = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def keep_allowed(_logger: Any, _method: str, event: Event) -> Event:
    """Leave out what is not on the allow-list: keys, types of value, and events that are not plain names."""
    kept: Event = allowed(event)
    name = kept.get("event", "")
    if not _is_name(name) and not (name and event.get("logger") in _SPEAK_FOR_THEMSELVES):
        _dropped["event"] += 1
        kept["event"] = "unnamed event"
    return kept


@lru_cache(maxsize=1_000)  # far more than there are events; our choice
def _is_name(event: str) -> bool:
    return _EVENT.fullmatch(event) is not None


def allowed(said: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``said`` that is on the allow-list, in plain values; the rest is counted. Traces use it as well.

    Keys that begin with an underscore are structlog's own, and are not rendered.
    """
    kept: dict[str, Any] = {}
    for key, value in said.items():
        if key in ALLOWED:
            plain = value if type(value) in _PLAIN_TYPES else _plain(value)
            # A list or a mapping is where a body would hide.
            if len(plain) <= _LONGEST if isinstance(plain, str) else isinstance(plain, _SHORT_TYPES):
                kept[key] = plain
                continue
        elif key.startswith("_"):
            kept[key] = value
            continue
        _dropped[key] += 1
    return kept


def _add_context(_logger: Any, _method: str, event: Event) -> Event:
    if _context is not None:
        event.update(_context())
    return event


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, PurePath) else value


def _from_library(_logger: Any, _method: str, event: Event) -> Event:
    """A record of the standard library's logging: its logger and its place, not its message."""
    record: logging.LogRecord = event["_record"]
    if record.name not in _SPEAK_FOR_THEMSELVES:
        event["event"] = "library message"
    event["line"] = f"{record.module}:{record.lineno}"
    event["exc_info"] = record.exc_info
    return event


def _describe_exception(_logger: Any, _method: str, event: Event) -> Event:
    """An exception as its class, its code where it has a plain one, and the place where it was raised."""
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event.update(describe(error))
    return event


def describe(error: BaseException) -> dict[str, str]:
    """An exception as keys for a log record. Safer than ``exc_info`` where logging may not be configured yet:
    structlog's own default prints the values of local variables.
    """
    said = {"error": _class_of(error)}
    code = getattr(error, "code", None)
    if isinstance(code, str | int) and _CODE.fullmatch(str(code)):
        said["error_code"] = str(code)
    if error.__traceback__ is not None:
        said["error_at"] = _place(error.__traceback__)
    cause = error.__cause__ or error.__context__
    if cause is not None:
        said["caused_by"] = _class_of(cause)
    return said


def _class_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(trace: TracebackType) -> str:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
