"""What a provider's code means: tables that are data, and the one way to read them.

Owns the format of the ``*_codes.toml`` files. Must not know any provider. A table has

  [codes]     the exact code
  [prefixes]  the longest prefix that the code begins with, where the exact one is not listed
  [statuses]  the protocol's status (HTTP, or the basic SMTP reply), exact or by prefix, where there is no code

each mapping to ``{class, reason}`` plus a free ``note``. Providers rename and split their codes (Twilio did in
its changelog of 2024-07-10), so an unknown code always ends in a class, with the reason ``unmapped_code`` that
the metrics count.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from channels.base import PermanentFailure, ProviderReason, SendFailure, TransientFailure, UnknownOutcome


class OutcomeClass(StrEnum):
    """The three ways in which sending fails; see ``channels.base``."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"


_FAILURES: Mapping[OutcomeClass, type[SendFailure]] = {
    OutcomeClass.TRANSIENT: TransientFailure,
    OutcomeClass.PERMANENT: PermanentFailure,
    OutcomeClass.UNKNOWN: UnknownOutcome,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a code means."""

    kind: OutcomeClass
    reason: ProviderReason
    code: str

    def failure(self, retry_after: float | None = None) -> SendFailure:
        """The exception that says so."""
        return _FAILURES[self.kind](self.reason, self.code, retry_after)


_Entry = tuple[OutcomeClass, ProviderReason]


@dataclass(frozen=True, slots=True)
class OutcomeTable:
    """One provider's codes."""

    codes: Mapping[str, _Entry]
    prefixes: Mapping[str, _Entry]
    statuses: Mapping[str, _Entry]

    def find(self, code: str, status: str = "") -> Outcome:
        """The meaning of ``code``, or where that is empty or unlisted, of ``status``. Never fails."""
        entry = self.codes.get(code) or _longest(self.prefixes, code) or _longest(self.statuses, status)
        if entry is None:
            # Nothing is known at all, not even a status: whether the provider has it is open too.
            entry = (OutcomeClass.UNKNOWN, ProviderReason.UNMAPPED)
        return Outcome(entry[0], entry[1], code or status)


def _longest(table: Mapping[str, _Entry], text: str) -> _Entry | None:
    for length in range(len(text), 0, -1):
        if entry := table.get(text[:length]):
            return entry
    return None


@cache
def load_table(package: str, filename: str) -> OutcomeTable:
    """Read a table from a package's data. Raises ValueError naming the file and the entry that is wrong."""
    raw = tomllib.loads(files(package).joinpath(filename).read_text("utf-8"))
    sections = {name: _section(filename, name, raw.get(name, {})) for name in ("codes", "prefixes", "statuses")}
    return OutcomeTable(**sections)


def _section(filename: str, section: str, raw: Mapping[str, Any]) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for code, entry in raw.items():
        try:
            entries[code] = (OutcomeClass(entry["class"]), ProviderReason(entry["reason"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{filename}: [{section}] {code}: {error}") from error
    return entries
