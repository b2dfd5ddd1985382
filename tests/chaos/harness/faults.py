"""What goes wrong: each kind of fault once in every round, in an order and at places that come from the seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.outside import Whims
from tests.chaos.harness.proxy import Mode

_PAUSE = (0.5, 2.5)  # seconds between two faults
_LASTS = (1.0, 6.0)  # seconds that a fault lasts
_OUTAGE_SECONDS = 30.0
_SKEW_SECONDS = 300.0
_SKEWED_SECONDS = 25.0  # of which the worker needs some to start

Fault = Callable[[], Awaitable[None]]


class Faults:
    """Causes faults and heals them. ``counted`` says which, and how often."""

    def __init__(self, fleet: Fleet, chance: random.Random, only: Sequence[str]) -> None:
        self._fleet = fleet
        self._chance = chance
        self.counted: Counter[str] = Counter()
        self.stopped = False  # no further faults
        kinds: dict[str, Fault] = {
            "kill_api": self._kill_api,
            "kill_worker": self._kill_worker,
            "terminate_worker": self._terminate_worker,
            "kill_valkey": self._kill_valkey,
            "kill_postgresql": lambda: self._postgres(self._fleet.postgres.kill),
            "empty_valkey": self._empty_valkey,
            "network_cut": lambda: self._network(Mode.CUT),
            "network_slow": lambda: self._network(Mode.SLOW),
            "network_deaf": lambda: self._network(Mode.DEAF),
            "network_mute": lambda: self._network(Mode.MUTE),
            "provider_429": lambda: self._whim("refuse", 429),
            "provider_5xx": lambda: self._whim("refuse", 503),
            "provider_outage": lambda: self._whim("down", True, _OUTAGE_SECONDS),
            "timeout_after_accepting": lambda: self._whim("mute_after_accepting", True),
            "receipts_shuffled": lambda: self._whim("shuffle", 4.0),
            "receipts_delayed": lambda: self._whim("shuffle", 25.0),
            "receipts_repeated": lambda: self._whim("repeat", 3),
            "receipts_forged": lambda: self._whim("forge", True),
            "template_paused": self._template_paused,
            "clock_off": self._clock_off,
            "disk_full": lambda: self._postgres(self._fleet.postgres.fill_disk),
        }
        self._kinds = {name: fault for name, fault in kinds.items() if not only or name in only}

    async def run(self, seconds: float) -> None:
        """Cause faults for so long; two may overlap. All are healed when this returns."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        running: set[asyncio.Task[None]] = set()
        waiting: list[str] = []
        while loop.time() < end and not self.stopped:
            if not waiting:
                waiting = self._chance.sample(sorted(self._kinds), len(self._kinds))
            name = waiting.pop()
            self.counted[name] += 1
            running.add(asyncio.create_task(self._limited(self._kinds[name], end - loop.time())))
            await asyncio.sleep(self._chance.uniform(*_PAUSE))
            while len(running) > 1 and loop.time() < end:
                _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED, timeout=0.5)
        await asyncio.gather(*running)

    async def _limited(self, fault: Fault, seconds: float) -> None:
        task = asyncio.create_task(fault())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await asyncio.shield(task)
        except TimeoutError:
            await self._heal_now(task)

    async def _heal_now(self, task: asyncio.Task[None]) -> None:
        task.cancel()  # each fault heals in its ``finally``
        [ended] = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended  # it could not be healed, and nothing that follows would be the gateway's doing

    async def _last(self, seconds: float = 0.0) -> None:
        await asyncio.sleep(seconds or self._chance.uniform(*_LASTS))

    async def _kill_api(self) -> None:
        await asyncio.to_thread(self._chance.choice(self._fleet.apis).kill)

    async def _kill_worker(self) -> None:
        await asyncio.to_thread(self._chance.choice(self._fleet.workers).kill)

    async def _terminate_worker(self) -> None:
        self._chance.choice(self._fleet.workers).terminate()

    async def _kill_valkey(self) -> None:
        self._fleet.valkey.wanted = False
        try:
            await asyncio.to_thread(self._fleet.valkey.kill)
            await self._last()
        finally:
            self._fleet.valkey.wanted = True

    async def _empty_valkey(self) -> None:
        try:
            async with Redis(port=self._fleet.valkey.port, socket_timeout=1) as client:
                await client.flushall()
        except (RedisError, OSError):
            pass  # it is dead at the moment, and as empty as can be

    async def _postgres(self, cause: Callable[[], None]) -> None:
        """Done to the ledger's server, and healed only when it has been done: a thread can't be cancelled."""
        begun = asyncio.create_task(asyncio.to_thread(cause))
        try:
            await asyncio.shield(begun)
            await self._last()
        finally:
            await asyncio.shield(self._heal_postgres(begun))

    async def _heal_postgres(self, begun: asyncio.Task[None]) -> None:
        await asyncio.wait([begun])
        await asyncio.to_thread(self._fleet.postgres.start)

    async def _network(self, mode: Mode) -> None:
        link = self._chance.choice(list(self._fleet.links.values()))
        try:
            link.set(mode, delay=self._chance.uniform(0.1, 1.5))
            await self._last()
        finally:
            link.set(Mode.PASS)

    async def _whim(self, name: str, value: object, seconds: float = 0.0) -> None:
        """At the SMS provider, at the mail server, at WhatsApp, or at all of them."""
        sms, mail, whatsapp = self._fleet.sms.whims, self._fleet.mail.whims, self._fleet.whatsapp.whims
        chosen = self._chance.choice([[sms], [mail], [whatsapp], [sms, mail, whatsapp]])
        try:
            for whims in chosen:
                setattr(whims, name, value)
            await self._last(seconds)
        finally:
            for whims in chosen:
                setattr(whims, name, getattr(Whims(), name))

    async def _template_paused(self) -> None:
        """WhatsApp pauses the template, and takes it back."""
        try:
            self._fleet.whatsapp.pause()
            await self._last()
        finally:
            self._fleet.whatsapp.resume()

    async def _clock_off(self) -> None:
        """One worker starts anew with a clock five minutes fast or slow, and later with the right one."""
        worker = self._chance.choice(self._fleet.workers)
        try:
            worker.skew = self._chance.choice((-_SKEW_SECONDS, _SKEW_SECONDS))
            await asyncio.to_thread(worker.kill)
            await self._last(_SKEWED_SECONDS)
        finally:
            worker.skew = 0.0
            await asyncio.shield(asyncio.to_thread(worker.kill))
