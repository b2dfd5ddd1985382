#!/usr/bin/env python3
"""What each page costs with many borrowers in the ledger, in milliseconds of processor.

    python ops/bench/pages.py [--borrowers 10000] [--contacts 1000]

The pages are asked in this process, on SQLite, by people who may see them; the second request of each is counted.
Exits 1 where a page takes more than 300 ms (our choice: what feels like at once on a machine with other work, too).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import structlog

from tests.support.page_costs import ask_pages, counting, filled

_MOST_MILLISECONDS = 300


async def _measure(borrowers: int, contacts: int) -> int:
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        async with filled(Path(folder), "", borrowers, contacts) as gateway:
            with counting(gateway) as counter:
                found = await ask_pages(gateway, counter)
    print(f"{borrowers} borrowers, the first with {contacts} contacts")
    print(f"{'page':32}{'ms of processor':>16}{'statements':>12}{'SQLite steps':>14}")
    for name, cost in found.items():
        print(f"{name:32}{1000 * cost.seconds:>16.1f}{cost.statements:>12}{100 * cost.steps:>14}")
    return max(int(1000 * each.seconds) for each in found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--borrowers", type=int, default=10_000)
    parser.add_argument("--contacts", type=int, default=1_000, help="of the first borrower")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(asyncio.run(_measure(options.borrowers, options.contacts)) > _MOST_MILLISECONDS)


if __name__ == "__main__":
    main()
