"""Opt-outs in a ledger whose digest key is changed: none is lost, whatever the order of steps and processes."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.borrowers.addresses import know_address, opt_in_address, opt_out_address
from gateway.core.security.digests import DigestVersions
from gateway.storage.database import Database
from gateway.storage.facts import ask_facts, ask_opted_out, facts_from
from gateway.storage.statements import execute_pipelined
from gateway.storage.upgrade.redigest import Redigest
from tests.support.storage.ledgers import NOW, empty_sqlite

KEYS = [f"digest-key-of-a-test-000{n}".encode() for n in range(3)]
# How many keys a process knows, and which version it writes: as a rotation goes, there and back. Processes of two
# neighbouring steps run beside each other.
STEPS = [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (3, 2), (2, 2), (2, 1)]
ADDRESSES = [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(2)]

Act = Literal["out", "in", "suppress", "free", "redigest", "next"]
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["out", "in", "suppress", "free", "redigest", "next", "next"]),
        st.sampled_from(ADDRESSES),
        st.booleans(),
    ),
    min_size=4,
    max_size=24,
)


class _RotatingLedger:
    """One ledger, and what has been said of its addresses."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url, self._stack = url, stack
        self._processes: dict[tuple[int, int], Database] = {}
        self.step = 0
        self.opted_out: set[str] = set()
        self.suppressed: set[str] = set()

    def process(self, *, newer: bool) -> Database:
        size, writes = STEPS[min(self.step + newer, len(STEPS) - 1)]
        if (size, writes) not in self._processes:
            made = Database(self._url, DigestVersions(KEYS[:size], writes))
            self._stack.push_async_callback(made.close)
            self._processes[size, writes] = made
        return self._processes[size, writes]

    async def act(self, act: str, address: str, *, newer: bool) -> None:
        database = self.process(newer=newer)
        key = ("acme", "sms", database.digests.current(address))
        if act == "out":
            await database.write(lambda each: opt_out_address(each, key, "test", NOW))
            self.opted_out.add(address)
        elif act == "in":
            await database.write(lambda each: opt_in_address(each, key, NOW))
            self.opted_out.discard(address)
        elif act in ("suppress", "free"):
            reason = "bounced" if act == "suppress" else ""
            await database.write(lambda each: know_address(each, key, suppressed=reason, suppressed_at=NOW))
            (self.suppressed.add if reason else self.suppressed.discard)(address)
        elif act == "redigest":
            await Redigest(database).run()
        elif self.step < len(STEPS) - 2:
            await self._next()

    async def _next(self) -> None:
        """A later key is taken out only when nothing hangs on it: the rule of ``gateway ledger redigest``."""
        before, after = self.process(newer=True), STEPS[min(self.step + 2, len(STEPS) - 1)]
        if after[0] < STEPS[self.step + 1][0]:
            await Redigest(before).run()
        self.step += 1

    async def check(self) -> None:
        for newer in (False, True):
            await self._check_process(self.process(newer=newer))

    async def _check_process(self, database: Database) -> None:
        current = database.digests.current
        names = {address: current(address) for address in ADDRESSES}
        keys, person = [("acme", "sms", name) for name in names.values()], ("acme", "B-1")
        [found] = await database.read(lambda each: execute_pipelined(each, [ask_opted_out(each, keys)]))
        assert {current(digest) for _, digest in found} == {names[each] for each in self.opted_out}
        answer = await database.query(lambda each: ask_facts(each, [person], [], keys, NOW))
        known = facts_from(answer, [person], database.digests)[person].facts.addresses
        assert {name for name, each in known.items() if each.opted_out_at} == {names[each] for each in self.opted_out}
        assert {name for name, each in known.items() if each.suppressed} == {names[each] for each in self.suppressed}


@given(ACTS)
@settings(max_examples=40, deadline=None)
def test_no_order_of_a_rotation_loses_an_opt_out(acts: list[tuple[Act, str, bool]]) -> None:
    """Both kinds of processes see each opt-out, its end, and each suppression, after every act of either."""

    async def run() -> None:
        with TemporaryDirectory() as folder:
            async with AsyncExitStack() as stack:
                ledger = _RotatingLedger(empty_sqlite(Path(folder)), stack)
                for act, address, newer in acts:
                    await ledger.act(act, address, newer=newer)
                    await ledger.check()

    asyncio.run(run())
