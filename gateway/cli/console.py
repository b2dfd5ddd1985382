"""Progress bars and tables on stderr, so that stdout has results only.

Owns the layout. Must not know the source of the figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from gateway.cli.portfolio.files import RowError
from gateway.cli.portfolio.sender import Tally

STDERR = Console(stderr=True, highlight=False)
STDOUT = Console(highlight=False)


class _Rate(ProgressColumn):
    """Rows per second: the recent rate, and at the end the rate of the whole run."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "-/s", style="progress.data.speed")


def progress() -> Progress:
    """A bar with rate and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=STDERR,
    )


def bad_row(error: RowError) -> None:
    """Print a line for a row above the progress bar."""
    STDERR.print(
        f"line {error.line}: {escape(error.field + ': ' if error.field else '')}{escape(error.detail)}", soft_wrap=True
    )


def tally(result: Tally) -> None:
    """Print the counts of a run."""
    rate = result.requests / result.seconds if result.seconds else 0.0
    rows = [
        ("requests", result.requests),
        ("accepted", result.accepted),
        ("replayed", result.replayed),
        ("rejected", result.rejected),
        ("seconds", f"{result.seconds:.2f}  ({rate:,.0f}/s)"),
    ]
    STDERR.print(table(None, ("", ""), rows))


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table with numbers right-aligned."""
    body = [list(row) for row in rows]
    # rich wraps a title at the table's width, so the table must be as wide as the title.
    width = len(title) + 4 if title else None
    made = Table(title=title, title_justify="left", min_width=width, show_header=any(columns), header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(body) and all(isinstance(row[number], int) for row in body)
        # An id is copied from the screen, so its column is as wide as the longest one. Others are folded, never cut.
        least = max((len(str(row[number])) for row in body), default=0) if re.search(r"(^|_)id$", column) else None
        made.add_column(column, justify="right" if numeric else "left", min_width=least, overflow="fold")
    for row in body:
        made.add_row(*(f"{cell:,}" if isinstance(cell, int) else escape(str(cell)) for cell in row))
    return made


def listing(found: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print a list as JSON, or the given columns as a table, in which null is empty."""
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    rows = [["" if each[column] is None else each[column] for column in columns] for each in found]
    STDOUT.print(table(None, columns, rows))


def counts(title: str, columns: tuple[str, str], figures: Mapping[str, int]) -> Table:
    """A table of counts, the largest first."""
    return table(title, columns, sorted(figures.items(), key=lambda each: (-each[1], each[0])))


def notification(found: Mapping[str, Any]) -> None:
    """One notification as ``gateway status`` shows it."""
    verdict = found.get("verdict") or {}
    facts = [
        ("id", found["id"]),
        ("state", _with_reason(found)),
        ("verdict", f"{verdict.get('verdict', '')} {verdict.get('reason', '')}".strip()),
        ("waits until", found.get("defer_until") or ""),
        ("duplicate of", found.get("duplicate_of") or ""),
        ("borrower, case", f"{found['borrower_id']}, {found['case_id']} ({found['stage']})"),
        ("template", f"{found['template']} {found['template_version']}"),
        ("accepted", found["accepted_at"]),
    ]
    STDOUT.print(table(None, ("", ""), [(name, value) for name, value in facts if value]))
    attempts = [
        (
            each["step"],
            each["channel"],
            _with_reason(each),
            attempt["number"] if attempt else "",
            attempt["provider"] if attempt else "",
            " ".join(str(attempt[key]) for key in ("outcome", "reason", "code") if attempt[key]) if attempt else "",
        )
        for each in found["deliveries"]
        for attempt in each["attempts"] or [None]
    ]
    columns = ("step", "channel", "state", "attempt", "provider", "outcome")
    STDOUT.print(table("deliveries and attempts", columns, attempts))
    timeline(found["events"])


def timeline(events: Sequence[Mapping[str, Any]]) -> None:
    """Events in order, in the borrower's time zone where it is known."""
    rows = [
        (
            each["local_at"] or each["at"],
            each["kind"],
            each.get("channel") or "",
            each["state"],
            each["reason"],
            each["actor"],
        )
        for each in events
    ]
    STDOUT.print(table("events", ("at", "what", "channel", "state", "reason", "by"), rows))


def _with_reason(found: Mapping[str, Any]) -> str:
    return f"{found['state']} ({found['reason']})" if found["reason"] else str(found["state"])
