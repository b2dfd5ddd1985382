"""Pages cost as much with many borrowers as with few: nobody reads the whole ledger to see one person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.storage.reads import Filter
from tests.support.page_costs import TENANT, PageCost, ask_pages, counting, filled
from tests.support.storage.ledgers import NOW

_GROWTH = 1.5  # of SQLite's steps: an index of thirty times as many rows is a level deeper, and pages of 50 are filled
_SLACK = 30  # hundreds of steps: what a page with next to nothing on it may add


@pytest.fixture(autouse=True)
def _kept_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read again every second or two is kept: how long the test takes must not be counted."""
    for module in ("gateway.web.ops.routes", "gateway.operations.controls"):
        monkeypatch.setattr(f"{module}._FRESH_SECONDS", 3600.0)


async def _costs(folder: Path, redis_url: str, borrowers: int, contacts: int) -> Mapping[str, PageCost]:
    async with filled(folder, redis_url, borrowers, contacts) as gateway:
        with counting(gateway) as counter:
            return await ask_pages(gateway, counter)


async def test_no_page_costs_more_with_more_borrowers_and_contacts(tmp_path: Path, redis_url: str) -> None:
    """Statements are the same, and the rows that SQLite visits do not grow, with 10 borrowers and with 300.

    The borrower who is looked at has 30 contacts and then 150: more than a page shows either way.
    """
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
    few = await _costs(tmp_path / "few", redis_url, 10, 30)
    many = await _costs(tmp_path / "many", redis_url, 300, 150)
    assert {name: each.statements for name, each in many.items()} == {
        name: each.statements for name, each in few.items()
    }
    grown = {name: (few[name].steps, each.steps) for name, each in many.items()}
    assert {name: steps for name, steps in grown.items() if steps[1] > steps[0] * _GROWTH + _SLACK} == {}


async def test_a_list_visits_no_more_than_it_shows(tmp_path: Path, redis_url: str) -> None:
    """The newest one, and those of a time before all there are: SQLite visits next to nothing else."""
    before_all = Filter(until=NOW - timedelta(hours=3))
    async with filled(tmp_path, redis_url, borrowers=300, contacts=1) as gateway:
        with counting(gateway) as counter:
            assert len(await gateway.ledger.reads.notifications(TENANT, Filter(), 1)) == 1
            assert await gateway.ledger.reads.notifications(TENANT, before_all, 50) == []
            assert counter.steps <= 3  # 300 steps; some eight for each that is visited
