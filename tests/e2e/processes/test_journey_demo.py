"""The demonstration of a journey: a whole gateway on a fast clock, from the first day to the gate, and past it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.forked import ForkedProcess, run_gateway
from tests.support.waiting import LIMIT_SECONDS, eventually


async def test_a_case_goes_from_its_first_day_to_the_gate(tmp_path: Path) -> None:
    """Each message once and in order, through the real path; the gate opens, and two people pass it on the page."""
    command = ("journey", "demo", "--seconds", "20", "--json", "--stay")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    shown, told = tmp_path / "stdout", tmp_path / "stderr"
    process = ForkedProcess(run_gateway, command, environment, shown, told)
    try:
        await eventually(
            lambda: process.poll() is not None or (shown.exists() and "\n" in shown.read_text()), every=0.1
        )
        found = json.loads(shown.read_text() or "{}")
        page = await _approved(found) if found else ""
        process.send_signal(signal.SIGINT)
        status = await asyncio.to_thread(process.wait, LIMIT_SECONDS)
    finally:
        process.kill()
    stderr = told.read_text()
    assert status == 0, stderr
    assert "The legal step was approved" in page
    assert f"/journeys/course/{found['id']}" in stderr.replace("\n", "")
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


async def _approved(found: dict[str, Any]) -> str:
    """The page of the case's course, after both people of the demonstration have signed in and approved."""
    course = f"/journeys/course/{found['id']}"
    for email in found["users"]:
        async with aiohttp.ClientSession(found["url"], cookie_jar=aiohttp.CookieJar(unsafe=True)) as visitor:
            async with visitor.get("/editor/sign-in") as answer:
                form = {"form_token": _token(await answer.text()), "email": email, "password": found["password"]}
            async with visitor.post("/editor/sign-in", data={**form, "back": course}) as answer:
                token = _token(await answer.text())
            approval = {"form_token": token, "reason": "papers checked"}
            answer = await visitor.post(f"{course}/approve", data=approval)
            for _ in range(int(LIMIT_SECONDS)):  # the gate needs two messages that are delivered: for their receipts
                if answer.status != 422:
                    break
                await asyncio.sleep(1)
                answer = await visitor.post(f"{course}/approve", data=approval)
            page = await answer.text()
            assert answer.status == 200, page
    return page


def _token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]
