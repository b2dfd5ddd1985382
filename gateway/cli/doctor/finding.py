"""What the doctor says: one sentence for each thing that was looked at, with the remedy where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad. ``ERROR``: it does not work, or not as promised. ``WARNING``: it will bite one day."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``check`` is its name in dots (``ledger.migrations``), ``remedy`` what to change; "" where all is well."""

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
