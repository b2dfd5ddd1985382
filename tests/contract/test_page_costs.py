"""Pages cost as much with many borrowers as with few: nobody reads the whole ledger to see one person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.page_costs import PageCost, ask_pages, counting, filled

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
