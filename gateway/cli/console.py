"""Progress bars and tables on stderr, so that stdout has results only.

Owns the layout. Must not know the source of the figures.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.console import Console, ConsoleOptions, RenderResult
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

from gateway.cli.terminal import visible

if TYPE_CHECKING:
    from gateway.cli.portfolio.decisions import DecisionCounts
    from gateway.cli.portfolio.files import RowError
    from gateway.cli.portfolio.sender import Tally

# What people read for a verdict, as on the pages; the JSON output has the API's words.
DECISIONS = {"send": "Allowed", "defer": "Waiting", "suppress": "Blocked", "review": "Needs review"}
_LONGEST_WORD = 48  # an id's column in the ledger
_ANY_WIDTH = 100_000  # wider than any table, to measure what it needs
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T")  # RFC 3339

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
    what = f"{error.field + ': ' if error.field else ''}{error.detail}"
    STDERR.print(f"line {error.line}: {escape(visible(what))}", soft_wrap=True)


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


class _WholeTable(Table):
    """A table of which nothing is cut: where the terminal is too narrow for it, one line for each cell."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = self.__rich_measure__(console, options.update_width(_ANY_WIDTH)).minimum
        if not self.show_header or needed <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        names = [str(each.header) for each in self.columns]
        widest = max(map(len, names))
        if self.title:
            yield Text(str(self.title), style="bold")
        for row in zip(*(each.cells for each in self.columns), strict=True):
            yield ""
            for name, cell in zip(names, row, strict=True):
                yield Text.assemble((f"{name:<{widest}}  ", "bold"), Text.from_markup(str(cell)), overflow="fold")


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table with numbers right-aligned. A column of instants in UTC says so in its head."""
    body = [list(row) for row in rows]
    # rich wraps a title at the table's width, so the table must be as wide as the title.
    width = len(title) + 4 if title else None
    shown = any(columns)
    made = _WholeTable(title=title, title_justify="left", min_width=width, show_header=shown, header_style="bold")
    for number, column in enumerate(columns):
        values = [row[number] for row in body]
        numeric = bool(body) and all(isinstance(each, int) and not isinstance(each, bool) for each in values)
        cells = [_cell(each) for each in values]
        instants = any(cells) and all(_INSTANT.match(each) for each in cells if each)
        # Ids and words are copied from the screen and instants compared, so such a column is as wide as the longest.
        # Others are folded, never cut.
        widest = max((len(each) for each in cells), default=0)
        whole = widest <= _LONGEST_WORD and not any(" " in each for each in cells)
        in_utc = instants and all(each.endswith("Z") for each in cells if each) and "UTC" not in column
        head = f"{column} (UTC)" if in_utc else column
        side: Literal["left", "right"] = "right" if numeric else "left"
        made.add_column(head, justify=side, min_width=widest if whole else None, no_wrap=whole, overflow="fold")
    for row in body:
        made.add_row(*(escape(_cell(each)) for each in row))
    return made


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))


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
        ("decision", f"{DECISIONS[verdict['verdict']]} ({verdict['reason']})" if verdict else ""),
        ("waits until (UTC)", found.get("defer_until") or ""),
        ("duplicate of", found.get("duplicate_of") or ""),
        ("borrower, case", f"{found['borrower_id']}, {found['case_id']} ({found['stage']})"),
        ("template", f"{found['template']} {found['template_version']}"),
        ("accepted (UTC)", found["accepted_at"]),
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


def messages(found: Sequence[Mapping[str, Any]]) -> None:
    """The words of each attempt, without colours, wrapping or markup: as they are, but for controls on a terminal."""
    written = visible if sys.stdout.isatty() else str
    if not found:
        STDERR.print("nothing was handed over")
    for each in found:
        STDOUT.print(
            f"{each['channel']}, attempt {each['attempt']} by {each['provider']} at {each['started_at']} (UTC):"
            f" {each['outcome']}; template {each['template']} {each['template_version']}",
            style="bold",
            markup=False,
            soft_wrap=True,
        )
        parts = [("subject", each["subject"]), ("text", each["text"]), ("html", each["html"])]
        if each["provider_template"]:
            call = each["provider_template"]
            parts.append(("provider's template", f"{call['reference']} ({call['language']})"))
            parts += [(f"parameter {one['name']}", one["value"]) for one in call["parameters"]]
        for name, words in parts:
            if words:
                typer.echo(written(f"{name}:\n{words}\n"))
        if each["erased"]:
            typer.echo("the words have been erased, or the attempt is older than their record\n")


def timeline(events: Sequence[Mapping[str, Any]]) -> None:
    """Events in order, in UTC and by the borrower's clock where their time zone is known."""
    rows = [
        (
            each["at"],
            each["local_at"] or "",
            each["kind"],
            each.get("channel") or "",
            each["state"],
            each["reason"],
            each["actor"],
        )
        for each in events
    ]
    columns = ("at (UTC)", "borrower's local time", "what", "channel", "state", "reason", "by")
    STDOUT.print(table("events", columns, rows))


def decisions(found: DecisionCounts, *, each_row: bool) -> None:
    """Decisions counted with the rule that decided, or one line for each row of the file."""
    from gateway.web import translations  # the words of the pages, which load Babel

    words = translations.load({})["en"]
    if each_row:
        rows = [
            (each.line, DECISIONS[each.verdict], words(f"reason_{each.reason}"), each.until or "", each.rule)
            for each in sorted(found.decided, key=lambda each: each.line)
        ]
        STDOUT.print(table(None, ("row", "decision", "why", "until (UTC)", "rule"), rows))
    counted = [
        (DECISIONS[verdict], words(f"reason_{reason}"), number, earliest, rule, line)
        for verdict, reason, number, earliest, rule, line in found.groups()
    ]
    if found.errors:
        counted.append(("rejected", "The row is no valid request", len(found.errors), "", "", found.errors[0].line))
    STDOUT.print(table(None, ("decision", "why", "number", "earliest (UTC)", "rule", "first row"), counted))


def _with_reason(found: Mapping[str, Any]) -> str:
    return f"{found['state']} ({found['reason']})" if found["reason"] else str(found["state"])
