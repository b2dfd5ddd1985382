"""A whole gateway with an SMSC that node-smpp makes: what it answers, how it reports, and how sessions end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import pytest_asyncio

from channels.base import Listens, TransientFailure
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway, open_gateway
from gateway.app.settings import Settings
from tests.support.api_gateway import request
from tests.support.outside import npm_package
from tests.support.production import free_port
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.tried import Tried
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "secret"
NUMBERS = count(1)


class NodeSmsc:
    """The server's process: ``events`` are what it said, ``tell`` is what it shall do."""

    def __init__(self, port: int, process: asyncio.subprocess.Process, version: str) -> None:
        self.port, self.version = port, version
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.events.append(json.loads(line))

    async def tell(self, what: str, **fields: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **fields}).encode() + b"\n")
        await self._process.stdin.drain()

    def saw(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event and fields.items() <= each.items()]

    async def stop(self) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading


@asynccontextmanager
async def smsc() -> AsyncIterator[NodeSmsc]:
    """node-smpp, listening. Skips the test where Node or the package is missing."""
    package, node = npm_package("smpp"), shutil.which("node")
    if node is None:
        pytest.skip("node is not installed (Debian: apt install nodejs)")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(node, str(Path(__file__).with_name("smsc.js")), str(port), PASSWORD),
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(package.parent)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    version = json.loads((package / "package.json").read_text())["version"]
    running = NodeSmsc(port, process, f"node-smpp {version}")
    try:
        await eventually(lambda: running.saw("listening"))
        yield running
    finally:
        await running.stop()


@asynccontextmanager
async def sending(server: NodeSmsc, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway that is bound to the SMSC."""
    common = {"host": "127.0.0.1", "port": server.port, "system_id": "lender", "password": PASSWORD}
    common |= {"source_address": "12345"}
    entry = {"channel": "sms", "kind": "smpp", "name": "smsc", "options": common | options}
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    begun(empty_sqlite(folder))
    stop = asyncio.Event()
    try:
        chosen = Settings(data_dir=folder, at="2026-11-24T10:00:00+08:00", providers=[entry])
        async with open_gateway(chosen) as gateway:
            await gateway.ledger.keys.create("acme", "test", ["send"], gateway.ledger.clock())
            provider = gateway.providers.by_name["smsc"]
            assert isinstance(provider, Listens)
            heard = partial(gateway.path.receiver.handle_provider_push, "smsc")
            listening = asyncio.create_task(provider.listen(heard, stop))
            yield gateway
            stop.set()
            await listening
    finally:
        rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[NodeSmsc]:
    """One SMSC for the tests that leave it as it was."""
    async with smsc() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(server: NodeSmsc) -> AsyncIterator[Gateway]:
    """One gateway that is bound to it."""
    async with sending(server) as bound:
        yield bound


def _number() -> str:
    return f"+12025550{100 + next(NUMBERS)}"


async def remind(gateway: Gateway, phone: str) -> str:
    """The id of a reminder that was handed over, or tried to be."""
    body = request(next(NUMBERS), route=["sms"])
    body["borrower"]["addresses"]["sms"] = phone
    [answer] = await gateway.path.pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
    assert answer.state == "accepted", answer.reason
    await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
    return answer.id


async def until(gateway: Gateway, notification_id: str, *states: str) -> dict[str, Any]:
    """Its delivery, in one of these states."""

    async def arrived() -> dict[str, Any] | None:
        found = await gateway.ledger.reads.notification("acme", notification_id)
        assert found is not None
        return dict(found["deliveries"][0]) if found["state"] in states else None

    return await eventually(arrived)


def _text(number: str, state: str) -> str:
    return f"id:{number} sub:001 dlvrd:001 submit date:2611241200 done date:2611241201 stat:{state} err:000 text:x"


# Each: what to tell the SMSC about a submit, and the end state and reason that follow.
FORMS: dict[str, Any] = {
    "Appendix B": (
        lambda sent: {"esm_class": 4, "short_message": _text(sent["id"], "DELIVRD")},
        "delivered",
        "delivered",
    ),
    "without padding": (
        lambda sent: {"esm_class": 4, "short_message": _text(sent["id"].lstrip("0"), "DELIVRD")},
        *("delivered", "delivered"),
    ),
    "stat:DELIVERED": (
        lambda sent: {"esm_class": 4, "short_message": _text(sent["id"], "DELIVERED")},
        *("delivered", "delivered"),
    ),
    "stat:UNDELIVERABLE": (
        lambda sent: {"esm_class": 4, "short_message": _text(sent["id"], "UNDELIVERABLE")},
        *("undelivered", "unreachable"),
    ),
    "esm_class 0": (
        lambda sent: {"esm_class": 0, "short_message": _text(sent["id"], "DELIVRD")},
        *("delivered", "delivered"),
    ),
    "optional parameters alone": (
        lambda sent: {"esm_class": 4, "receipted_message_id": sent["id"], "message_state": 2},
        *("delivered", "delivered"),
    ),
    "our reference alone": (
        lambda sent: {"esm_class": 4, "user_message_reference": sent["reference"], "message_state": 5},
        *("undelivered", "unreachable"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["deliver_sm", "data_sm"])
async def test_a_receipt_in_any_form_ends_the_delivery(
    gateway: Gateway, server: NodeSmsc, tried: Tried, form: str, command: str
) -> None:
    """The states' words, the id's spelling, and where the receipt stands, differ from SMSC to SMSC."""
    make, state, reason = FORMS[form]
    phone = _number()
    reminder = await remind(gateway, phone)
    await eventually(lambda: server.saw("submit", to=phone.removeprefix("+"), receipt=1))
    [sent] = server.saw("submit", to=phone.removeprefix("+"), receipt=1)
    fields = make(sent)
    if command == "data_sm" and "short_message" in fields:
        fields["message_payload"] = fields.pop("short_message")
    answered = len(server.saw("answer"))
    await server.tell(command, source_addr=sent["to"], destination_addr="12345", **fields)
    delivery = await until(gateway, reminder, "delivered", "undelivered")
    assert (delivery["state"], delivery["reason"]) == (state, reason)
    [answer] = (await eventually(lambda: server.saw("answer")[answered:]))[:1]
    assert answer["status"] == 0
    tried(server.version, f"an SMS; its receipt by {command}: {form}", state, reason, f"{command}_resp, status 0")


async def test_a_refused_bind_sends_nothing_to_review(server: NodeSmsc, tried: Tried) -> None:
    """A wrong password is our configuration: messages wait, and the doctor's check says what it is."""
    async with sending(server, password="wrong") as gateway:
        reminders = [await remind(gateway, _number()) for _ in range(3)]
        for each in reminders:
            assert (await until(gateway, each, "retrying"))["reason"] == "provider_config"
        with pytest.raises(TransientFailure) as refused:
            await gateway.providers.by_name["smsc"].check()  # type: ignore[attr-defined]
        assert refused.value.reason == "provider_config"
    assert server.saw("bind_transceiver", refused=True)
    tried(
        server.version, "binds with a wrong password", "retrying", "provider_config", "bind_transceiver, refused: 0x0D"
    )


async def test_it_unbinds_and_is_bound_anew(tried: Tried) -> None:
    """At its end the gateway unbinds; where the SMSC does, it answers, and binds again."""
    async with smsc() as server:
        async with sending(server):
            await eventually(lambda: server.saw("bind_transceiver"))
            await server.tell("unbind")
            await eventually(lambda: len(server.saw("bind_transceiver")) == 2)
            assert [each["status"] for each in server.saw("answer")] == [0]
        await eventually(lambda: server.saw("unbind"))
        tried(server.version, "unbind of the SMSC", "bound again", "", "unbind_resp, bind_transceiver")
        tried(server.version, "a stop of the gateway", "ended", "", "unbind")


async def test_separate_binds(tried: Tried) -> None:
    """Messages go by the transmitter, and the receipt comes by the receiver."""
    async with smsc() as server, sending(server, bind="separate") as gateway:
        await eventually(lambda: server.saw("bind_receiver"))
        phone = _number()
        reminder = await remind(gateway, phone)
        [sent] = await eventually(lambda: server.saw("submit", receipt=1))
        text = _text(sent["id"], "DELIVRD")
        await server.tell(
            "deliver_sm", source_addr=sent["to"], destination_addr="12345", esm_class=4, short_message=text
        )
        await until(gateway, reminder, "delivered")
        seen = ", ".join(each["event"] for each in server.events if each["event"].startswith("bind"))
        assert not server.saw("bind_transceiver")
        tried(server.version, "an SMS by separate binds", "delivered", "delivered", seen)


async def test_a_throttled_later_part_is_submitted_again(tried: Tried) -> None:
    """The parts before it are with the SMSC: the message is completed, and nobody has to review it."""
    async with smsc() as server, sending(server) as gateway:
        await server.tell("throttle", count=2)
        phone = _number()
        reminder = await remind(gateway, phone)
        delivery = await until(gateway, reminder, "sent", "review", "unknown")
        assert delivery["state"] == "sent"
        assert len(server.saw("throttled")) == 2
        parts = len(server.saw("submit"))
        assert parts > 1
        seen = f"two submits refused with 0x58, {parts} parts taken"
        tried(server.version, "a long SMS, a later part throttled", "sent", delivery["reason"] or "", seen)


async def test_a_stop_is_confirmed_once(tried: Tried) -> None:
    """The borrower's STOP is in force, and answered by one message, as by Twilio."""
    async with smsc() as server, sending(server) as gateway:
        await eventually(lambda: server.saw("bind_transceiver"))
        phone = _number()
        body = request(next(NUMBERS), route=["sms"])
        body["borrower"] |= {"jurisdiction": "us", "locale": "en", "time_zones": ["America/New_York"]}
        body["borrower"]["addresses"]["sms"] = phone
        await gateway.path.pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
        for _ in range(2):
            answered = len(server.saw("answer"))
            fields = {"source_addr": phone.removeprefix("+"), "destination_addr": "12345", "short_message": "STOP"}
            await server.tell("deliver_sm", **fields)
            await eventually(lambda before=answered: len(server.saw("answer")) > before)
        [confirmed] = await eventually(lambda: server.saw("submit", to=phone.removeprefix("+")))
        assert "Example Bank" in confirmed["text"]
        found = await gateway.ledger.reads.borrower("acme", body["borrower"]["id"]) or {}
        assert [each["source"] for each in found["opt_outs"]] == ["reply"]
        tried(server.version, "STOP, twice", "address opted out", "reply", "one submit_sm that confirms it")
