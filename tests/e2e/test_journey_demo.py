"""The demonstration of a journey: a whole gateway on a fast clock, from the first day to the gate."""

from __future__ import annotations

import asyncio
import json
import os

from tests.support.forked import gateway_command


async def test_a_case_goes_from_its_first_day_to_the_gate() -> None:
    """Each message once and in order, through the real path; the gate opens and waits for persons."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    command = ("journey", "demo", "--seconds", "20", "--json")
    done = await asyncio.to_thread(gateway_command, *command, environment=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["state"] == "gate"
    assert [each["step"] for each in found["steps"]] == [
        "remind",
        "follow_up",
        "offer",
        "follow_up_offer",
        "second_offer",
        "final_notice",
    ]
    assert {each["result"] for each in found["steps"]} == {"sent"}
