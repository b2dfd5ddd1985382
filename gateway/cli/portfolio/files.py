"""Reads a portfolio file as a stream of requests: JSONL, or CSV with dotted paths or a mapping; also .gz.

Owns file formats and line numbers. Must not know the network or the validation of requests, which the gateway does. A
row that can't be parsed is returned as a ``RowError``, and reading continues.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from gateway.cli.portfolio.mapping import Mapper, Unmappable

_INDEX = re.compile("[0-9]{1,9}")  # of a list, in a column's path
_KEY_HEX = 40  # of SHA-256: 160 bits, no collision within any portfolio


class PortfolioError(Exception):
    """The file as a whole can't be read. The message is one line for the terminal."""


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that is not sent, or was refused: ``field`` is a column, a dotted path, or "" for the whole row."""

    line: int
    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class PortfolioRow:
    """A request, and the line that it begins on. ``key`` is its idempotency key."""

    line: int
    key: str
    request: Mapping[str, Any]


def read(path: Path, mapper: Mapper | None = None) -> Iterator[PortfolioRow | RowError]:
    """The file's requests, in order, a line at a time. Raises PortfolioError, also midway (a truncated .gz)."""
    for line, content in _lines(path, mapper):
        if isinstance(content, RowError):
            yield content
        elif isinstance(content, str):
            yield _json_row(line, content)
        else:
            yield _csv_row(line, content, mapper)


def count(path: Path, mapper: Mapper | None = None) -> int:
    """The number of rows that ``read`` yields, for a progress bar; only the filter is evaluated."""
    return sum(1 for _ in _lines(path, mapper))


def _lines(path: Path, mapper: Mapper | None) -> Iterator[tuple[int, RowError | str | Mapping[str, str]]]:
    """Yield each row with its line number: a JSON text, or CSV cells by column."""
    name = path.name.lower().removesuffix(".gz")
    with _open(path) as file:
        try:
            if name.endswith(".csv"):
                yield from _csv_lines(file, path, mapper)
            elif name.endswith((".jsonl", ".ndjson")):
                if mapper is not None:
                    raise PortfolioError(f"{path}: a mapping is for CSV; lines of JSON are requests already")
                yield from ((line, text) for line, text in enumerate(file, start=1) if text.strip())
            else:
                raise PortfolioError(f"{path}: the name must end in .csv, .jsonl or .ndjson, with or without .gz")
        except UnicodeDecodeError:
            raise PortfolioError(f"{path}: is not UTF-8") from None
        except (EOFError, zlib.error, OSError) as error:
            raise PortfolioError(f"{path}: cannot be read to its end ({type(error).__name__})") from error


def row_key(request: Mapping[str, Any]) -> str:
    """The idempotency key of a row without one: a digest of the row, the same in every file."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"row-{hashlib.sha256(canonical.encode('utf-8', 'surrogatepass')).hexdigest()[:_KEY_HEX]}"


def _open(path: Path) -> TextIO:
    try:
        if path.name.lower().endswith(".gz"):
            with path.open("rb") as file:
                if file.read(2) != b"\x1f\x8b":  # RFC 1952 section 2.3.1
                    raise PortfolioError(f"{path}: is named .gz and is not gzip")
            return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise PortfolioError(f"cannot read {path}: {error.strerror}") from error


def _json_row(line: int, text: str) -> PortfolioRow | RowError:
    try:
        request = json.loads(text.strip(), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return RowError(line, "", f"is not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError):
        return RowError(line, "", "is not JSON: a number or nesting that no request has")
    if not isinstance(request, dict):
        return RowError(line, "", "is not a JSON object")
    return _row(line, request)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _csv_lines(file: TextIO, path: Path, mapper: Mapper | None) -> Iterator[tuple[int, RowError | Mapping[str, str]]]:
    reader = csv.reader(file, strict=True)
    header = _header(reader, path, mapper)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, RowError(line, "", f"is not CSV: {error}")
            continue
        if not cells:
            continue
        if len(cells) != len(header):
            yield line, RowError(line, "", f"has {len(cells)} cells; the header has {len(header)}")
            continue
        columns = dict(zip(header, cells, strict=True))
        try:
            if mapper is None or mapper.wants(columns):
                yield line, columns
        except Unmappable as error:
            yield line, RowError(line, error.field, error.detail)


def _header(reader: Iterator[list[str]], path: Path, mapper: Mapper | None) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise PortfolioError(f"{path}: the header is not CSV: {error}") from error
    if not any(header):
        raise PortfolioError(f"{path}: has no header line")
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise PortfolioError(f"{path}: the column {min(twice)!r} is there twice")
    if mapper is None and not {"borrower.id", "id"} & set(header):  # of a request, or of a case
        raise PortfolioError(
            f"{path}: has no column borrower.id (of cases: id): name columns by dotted paths, or give a --mapping"
        )
    missing = mapper.columns() - set(header) if mapper else set()
    if missing:
        raise PortfolioError(f"{path}: the mapping needs the column {min(missing)!r}, which is not there")
    return header


def _csv_row(line: int, columns: Mapping[str, str], mapper: Mapper | None) -> PortfolioRow | RowError:
    try:
        return _row(line, nested(columns if mapper is None else mapper.fields_of(columns)))
    except Unmappable as error:
        return RowError(line, error.field, error.detail)


def _row(line: int, request: dict[str, Any]) -> PortfolioRow | RowError:
    key = request.pop("idempotency_key", None) or row_key(request)
    if not isinstance(key, str):
        return RowError(line, "idempotency_key", "is not a text")
    return PortfolioRow(line, key, request)


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted paths as nested objects; a number in a path is a list index. Empty cells are left out.

    Raises: Unmappable where one path says that a value is a text and another that it is an object.
    """
    root: dict[str, Any] = {}
    for path, value in fields.items():
        if value == "" or value is None:
            continue
        *parents, last = path.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise Unmappable(path, "is inside of a value that another column gives")
        if last in node:
            raise Unmappable(path, "is given by two columns")
        node[last] = value
    listed: dict[str, Any] = {name: _listed(value) for name, value in root.items()}
    return listed


def _listed(value: Any) -> Any:
    """Objects whose names are all numbers become lists, in the order of the numbers."""
    if not isinstance(value, dict):
        return value
    members = {name: _listed(member) for name, member in value.items()}
    if members and all(_INDEX.fullmatch(name) for name in members):
        return [members[name] for name in sorted(members, key=int)]
    return members
