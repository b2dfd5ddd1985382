"""The result of a check: a sentence, its level, and a remedy where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity. ``ERROR``: it does not work, or breaks a guarantee. ``WARNING``: it may fail later."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``check`` is a dotted name (``ledger.migrations``), ``remedy`` the change to make; "" without a problem."""

    check: str
    level: Level
    what: str
    remedy: str = ""


def ok(check: str, what: str) -> CheckResult:
    return CheckResult(check, Level.OK, what)


def skipped(check: str, what: str) -> CheckResult:
    return CheckResult(check, Level.SKIPPED, what)


def warning(check: str, what: str, remedy: str) -> CheckResult:
    return CheckResult(check, Level.WARNING, what, remedy)


def error(check: str, what: str, remedy: str) -> CheckResult:
    return CheckResult(check, Level.ERROR, what, remedy)
