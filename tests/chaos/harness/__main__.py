"""./ops/chaos: faults from a seed under steady load; then quiet, and the count of broken promises.

Exit status 0 where no promise was broken, 1 where one was, 2 where the run itself failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from channels.received import delivery_of
from tests.chaos.harness.faults import Faults
from tests.chaos.harness.fleet import Fleet, fleet
from tests.chaos.harness.journeys import define_journey, waiting_cases
from tests.chaos.harness.load import Clients
from tests.chaos.harness.process import BREAKS
from tests.chaos.harness.social import approve_template
from tests.chaos.harness.verdict import arrived_by_kind, judge, lost_notes
from tests.support.production import answers

_OF_JOURNEYS = ("journeys_lost", "steps_repeated", "after_payment")
PROMISES = (
    "lost",
    "repeated",
    "unresolved",
    "outside_window",
    "over_cap",
    "after_opt_out",
    "free_text",
    *_OF_JOURNEYS,
    "orphans",
)
_FIGURES = ("seed", "faults", "accepted", *PROMISES, "seconds_to_settle")
_BESIDE = ("forged_taken",)  # a false receipt that was believed is a broken promise, too
_READY_SECONDS = 120.0  # the first start may be on a busy machine; no promise is about it
_MOVING = ("accepted", "deferred", "sending", "sent", "retrying", "unknown", "review")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments (None: the command line's), run, print."""
    parser = argparse.ArgumentParser(prog="ops/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=8.0, help="requests a second")
    parser.add_argument("--patience", type=float, default=240.0, help="seconds to come to rest after the last fault")
    parser.add_argument("--only", default="", help="these kinds of fault, separated by commas")
    parser.add_argument("--break", dest="broken", default="", choices=["", *BREAKS], help="break it on purpose")
    parser.add_argument("--until-broken", action="store_true", help="stop as soon as a promise is seen to be broken")
    parser.add_argument("--keep", type=Path, help="keep the processes' logs in this directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="gwchaos", dir="/tmp"))
    try:
        figures, beside = asyncio.run(_run(options, folder))
    except Exception:
        traceback.print_exc()
        return 2
    finally:
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    broken = [name for name in PROMISES if figures[name]] + [name for name in _BESIDE if beside[name]]
    if options.json:
        print(json.dumps(figures))
        print(json.dumps(beside), file=sys.stderr)
    else:
        for name, value in (figures | beside).items():
            print(f"{name:>18}  {value}")
        print(f"broken: {', '.join(broken) or 'nothing'}")
    return 1 if broken else 0


async def _run(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures, and beside them what helps to understand them."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # and everything is ended, as always
    chance = random.Random(options.seed)
    seconds = options.minutes * 60
    async with fleet(folder, random.Random(options.seed + 1), options.broken) as running:
        urls = [f"http://127.0.0.1:{proxy.port}" for proxy in running.clients]
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(answers(http, url, _READY_SECONDS) for url in urls))
        await define_journey(running.postgres.server.url)
        await approve_template(urls[0], running.key, running.whatsapp)
        until = datetime.now(UTC) + timedelta(seconds=seconds + 20)
        clients = Clients(urls, running.key, random.Random(options.seed + 2), until)
        faults = Faults(running, chance, [name for name in options.only.split(",") if name])
        watching = asyncio.create_task(_stop_when_broken(running, clients, faults)) if options.until_broken else None
        await asyncio.gather(clients.run(options.rate, seconds), faults.run(seconds))
        if watching is not None:
            watching.cancel()
        healed = time.monotonic()
        await clients.answered()
        reviewed, unresolved = await _quiet(running, clients, healed + options.patience)
        settled = time.monotonic() - healed
        arrivals = running.arrivals
        for note in lost_notes(clients.notes, arrivals):
            await _tell(running, clients, note.id)
        figures = {
            "seed": options.seed,
            "faults": dict(sorted(faults.counted.items())),
            **judge(clients.notes, arrivals),
            "unresolved": unresolved,
            "seconds_to_settle": round(settled, 1),
        }
        return {name: figures[name] for name in _FIGURES}, {
            "forged_taken": sum(each.forged_taken for each in (running.sms, running.mail, running.whatsapp)),
            "reviewed": reviewed,
            "refused": len(clients.refused),
            "arrived": arrived_by_kind(clients.notes, arrivals),
        }


async def _stop_when_broken(running: Fleet, clients: Clients, faults: Faults) -> None:
    """End requests and faults as soon as a promise is broken of which more time mends nothing."""
    while True:
        await asyncio.sleep(0.5)
        found = judge(clients.notes, running.arrivals)
        if any(found[name] for name in ("repeated", "outside_window", "over_cap", "after_opt_out", "free_text")):
            clients.stopped = faults.stopped = True
            return


async def _quiet(running: Fleet, clients: Clients, deadline: float) -> tuple[int, int]:
    """Wait until every request that was taken has ended; meanwhile decide what a person has to decide.

    How many were decided, and how many had not ended at the deadline.
    """
    headers, reviewed, url = {"Authorization": f"Bearer {running.key}"}, 0, clients.urls[0]
    patience = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(headers=headers, timeout=patience, raise_for_status=True) as http:
        while True:
            moving = None
            try:
                reviewed += await _review(http, url, running)
                moving = await _moving(http, url) + await waiting_cases(http, url, clients.notes)
            except (aiohttp.ClientError, TimeoutError):
                pass
            if moving == 0 or time.monotonic() > deadline:
                return reviewed, moving if moving is not None else -1
            await asyncio.sleep(1)


async def _moving(http: aiohttp.ClientSession, url: str) -> int:
    """How many have not ended, each looked at once: one that moves on meanwhile would slip between counts by state."""
    moving, cursor = 0, ""
    while True:
        async with http.get(f"{url}/v1/notifications?limit=200{cursor}") as answer:
            page = await answer.json()
        moving += sum(each["state"] in _MOVING for each in page["notifications"])
        if page["next_cursor"] is None:
            return moving
        cursor = f"&cursor={page['next_cursor']}"


async def _tell(running: Fleet, clients: Clients, notification_id: str) -> None:
    """What the gateway says of a request that was lost, for whoever looks for the reason."""
    headers = {"Authorization": f"Bearer {running.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{clients.urls[0]}/v1/notifications/{notification_id}") as answer,
    ):
        print(f"lost: {await answer.text()}", file=sys.stderr)


async def _review(http: aiohttp.ClientSession, url: str, running: Fleet) -> int:
    """The lender's person: asks the relay and Meta, lets go what they don't have, and stops what they have."""
    delivered = {mail.message_id.partition("@")[0] for mail in running.mail.mails}
    delivered |= {delivery_of(each.tag) for each in running.whatsapp.messages}
    async with http.get(f"{url}/v1/reviews?limit=100") as answer:
        items = (await answer.json())["reviews"]
    for item in items:
        verb = "refuse" if item["id"] in delivered else "approve"
        async with http.post(f"{url}/v1/reviews/{item['id']}/{verb}", json={"reason": "asked the provider"}) as done:
            await done.read()
    return len(items)


if __name__ == "__main__":
    sys.exit(main())
