"""The drills: what goes wrong, which alert it has to set off, and what a person does about it.

``mend`` is what the runbook says in words (start it again, give the disk room) and what it says in commands, in the
order of the page. The commands are read from the page itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from tests.drills.scene import Scene

Act = Callable[[Scene], Awaitable[None]]

_STOPS = 30
_RUNAWAY_PER_SECOND = 12.0


@dataclass(frozen=True)
class Drill:
    """One fault with its alert. ``per_second`` is the load before it."""

    alert: str
    fault: str
    cause: Act
    mend: Act
    per_second: float = 1.5  # below what GatewayTemplateSurge takes for many, since a drill has no week behind it


async def _provider_goes(scene: Scene) -> None:
    scene.fleet.sms.whims.down = True


async def _provider_returns(scene: Scene) -> None:
    await scene.hand.follow("GatewayChannelDown", "Fix", choose=lambda line: line.startswith("gateway pause"))
    await scene.hand.follow("GatewayChannelDown", "Fix", choose=lambda line: line == "gateway controls")
    scene.fleet.sms.whims.down = False
    await scene.hand.follow("GatewayChannelDown", "Fix", choose=lambda line: "resume" in line or "redrive" in line)


async def _redis_goes(scene: Scene) -> None:
    scene.fleet.valkey.wanted = False
    await asyncio.to_thread(scene.fleet.valkey.kill)


async def _redis_returns(scene: Scene) -> None:
    scene.fleet.valkey.wanted = True  # empty: it keeps nothing


async def _disk_fills(scene: Scene) -> None:
    await asyncio.to_thread(scene.fleet.postgres.fill_disk)


async def _disk_gets_room(scene: Scene) -> None:
    await asyncio.to_thread(scene.fleet.postgres.start)
    await scene.hand.follow("GatewayAcceptAvailability", "Fix")


async def _campaign_runs_away(scene: Scene) -> None:
    scene.load.per_second = _RUNAWAY_PER_SECOND


async def _campaign_is_stopped(scene: Scene) -> None:
    pausing = ("gateway pause", "gateway controls")
    await scene.hand.follow("GatewayTemplateSurge", "Fix", choose=lambda line: line.startswith(pausing))
    scene.load.per_second = 1.0
    await _silent(scene, "GatewayTemplateSurge")
    # The lender closes the cases of what was wrong; only then the pause ends.
    cases = [case for _, case, _ in scene.load.taken[-400:]]
    for case in cases:
        async with scene.http.post(f"{scene.load.urls[0]}/v1/cases/{case}/close", json={"reason": "withdrawn"}):
            pass
    await scene.hand.follow("GatewayTemplateSurge", "Fix", choose=lambda line: "resume" in line)


async def _borrowers_say_stop(scene: Scene) -> None:
    url = scene.fleet.apis[0].environment["GATEWAY_PUBLIC_URL"] + "/v1/inbound/sim"
    for number, (_, _, phone) in enumerate(scene.load.taken[-_STOPS:]):
        form = {"AccountSid": "AC" + "0" * 32, "MessageSid": f"SM{number:032x}", "From": phone, "Body": "STOP"}
        signature = RequestValidator("sms-token").compute_signature(url, form)
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        async with scene.http.post(url, data=urlencode(form), headers=headers) as response:
            assert response.status == 200, await response.text()


async def _template_is_stopped(scene: Scene) -> None:
    pausing = ("gateway pause", "gateway controls")
    await scene.hand.follow("GatewayOptOutSurge", "Fix", choose=lambda line: line.startswith(pausing))
    await _silent(scene, "GatewayOptOutSurge")
    await scene.hand.follow("GatewayOptOutSurge", "Fix", choose=lambda line: "resume" in line)


async def _workers_hang(scene: Scene) -> None:
    for worker in scene.fleet.workers:
        assert worker.handle is not None
        os.kill(worker.handle.pid, signal.SIGSTOP)


async def _workers_restart(scene: Scene) -> None:
    for worker in scene.fleet.workers:  # the supervisor starts each again
        await asyncio.to_thread(worker.kill)


async def _silent(scene: Scene, alert: str, seconds: float = 180.0) -> None:
    async with asyncio.timeout(seconds):
        while alert in await scene.watch.firing():  # noqa: ASYNC110 – Alertmanager is another process
            await asyncio.sleep(0.2)


DRILLS: Mapping[str, Drill] = {
    "provider-outage": Drill(
        "GatewayChannelDown", "the SMS provider closes every connection", _provider_goes, _provider_returns, 1.9
    ),
    "redis-lost": Drill("GatewayRedisLost", "Redis dies with all that it held", _redis_goes, _redis_returns),
    "database-full": Drill("GatewayAcceptAvailability", "the database's disk is full", _disk_fills, _disk_gets_room),
    "runaway-template": Drill(
        "GatewayTemplateSurge",
        "a case system sends one template at twelve a second",
        _campaign_runs_away,
        _campaign_is_stopped,
        1.0,
    ),
    "opt-out-storm": Drill(
        "GatewayOptOutSurge", f"{_STOPS} borrowers answer STOP", _borrowers_say_stop, _template_is_stopped
    ),
    "stuck-queue": Drill("GatewayDeliveriesLate", "both workers hang (SIGSTOP)", _workers_hang, _workers_restart),
}
