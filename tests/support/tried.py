"""The table of what was tried with software of others: a row for each case, from the tests that ran it.

``pytest --outside-table FILE`` writes it, of the tests that it runs; ops/deploy/tried.md is one. A test calls ``tried``
with what it has checked. The rows travel with pytest's reports, so that tests may run in several processes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COLUMNS = ("server", "what was sent", "end state", "reason", "what the other side saw")
Tried = Callable[..., None]

_PROPERTY = "tried"
_HEAD = """# Tried with software of others

Each row is a test that passed: the server and its version, what was sent, the end state and reason that the ledger has,
and what the other side logged or received. The tests write this page: `pytest --outside-table ops/deploy/tried.md` with
tests/outside, tests/e2e/processes/test_pgbouncer.py and tests/contract/queue/test_rights.py.

Not tried, because it could not be had: PgBouncer from 1.21, which can keep prepared statements over transactions
(Debian 12 has 1.18; PyPI and npm have none). The gateway prepares none through a pooler, so it does not rely on that.

"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outside-table", metavar="FILE", help="write the table of what was tried with others' software")


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Tried:
    """Record a row of the table: the values of its columns, in their order."""

    def record(*values: object) -> None:
        assert len(values) == len(COLUMNS)
        record_property(_PROPERTY, tuple(" ".join(str(each).split()).replace("|", "\\|") for each in values))

    return record


class Table:
    """Collects the rows of tests that passed, and writes them in one order at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: set[tuple[str, ...]] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._rows |= {tuple(value) for name, value in report.user_properties if name == _PROPERTY}

    def pytest_sessionfinish(self) -> None:
        lines = [COLUMNS, ("---",) * len(COLUMNS), *sorted(self._rows)]
        self._path.write_text(_HEAD + "".join(f"| {' | '.join(each)} |\n" for each in lines), "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Collect in the process that reports: the workers of pytest-xdist send their reports to it."""
    path: Any = config.getoption("--outside-table")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(Path(path)))
