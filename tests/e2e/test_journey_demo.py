"""The demonstration of a journey: a whole gateway on a fast clock, from the first day to the gate."""

from __future__ import annotations

import asyncio
import json
import os
import sys


async def test_a_case_goes_from_its_first_day_to_the_gate() -> None:
    """Each message once and in order, through the real path; the gate opens and waits for persons."""
    command = (sys.executable, "-m", "gateway.cli", "journey", "demo", "--seconds", "20", "--json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    found = json.loads(stdout)
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
