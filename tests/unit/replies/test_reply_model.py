"""The optional language model: what it is sent, what it may answer, and that anything else is an abstention."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import pytest
from aiohttp import web

from gateway.conversations.reply_model import (
    CLOSED,
    GROUP,
    ReplyModelReader,
    ReplyModelSettings,
    open_model,
    redacted,
)
from gateway.core.conversations import FOR_PERSONS, ReplyModelResult
from gateway.core.notifications import Borrower
from gateway.core.reasons import Intent

CHEN = Borrower("B-1001", "Chen Mei", "zh-TW", "tw", ("Asia/Taipei",), {"sms": "+886912345678", "email": "c@x.example"})
OPENAI = EntryPoint("openai", "gateway.conversations.openai_model:OpenAiModel", GROUP)


@dataclass
class ModelEndpoint:
    """An OpenAI-compatible endpoint on loopback that answers with ``content``."""

    url: str = ""
    content: str = ""
    status: int = 200
    hangs: bool = False
    heard: list[str] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.heard.append((await request.json())["messages"][1]["content"])
        if self.hangs:
            await self.released.wait()
        answer = json.dumps({"choices": [{"message": {"content": self.content}}]}).encode()
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        for at in range(0, len(answer), 16):  # each part a chunk of its own, as such servers send it
            await response.write(answer[at : at + 16])
        return response


@pytest.fixture
async def endpoint() -> AsyncIterator[ModelEndpoint]:
    made, app = ModelEndpoint(), web.Application()
    app.router.add_post("/v1/chat/completions", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield made
    made.released.set()
    await runner.cleanup()


def reader(endpoint: ModelEndpoint, **limits: float) -> ReplyModelReader:
    options = {"url": endpoint.url, "model": "small"}
    return open_model(ReplyModelSettings.model_validate({"kind": "openai", "options": options, **limits}), [OPENAI])


async def test_one_intent_of_the_closed_list_counts(endpoint: ModelEndpoint) -> None:
    """Safety isn't on the list, so a model can neither find nor overrule it; every other answer is an abstention."""
    assert FOR_PERSONS.isdisjoint(CLOSED)
    model = reader(endpoint)
    endpoint.content = json.dumps({"intent": "plan"})
    assert await model.read("could we talk about smaller steps", CHEN) is Intent.PLAN
    for other in (
        '{"intent": "stop"}',
        '{"intent": "none"}',
        '{"intent": ["plan"]}',
        "plan",
        "{}",
        "[]",
        '{"intent": 7}',
    ):
        endpoint.content = other
        assert await model.read("could we talk about smaller steps", CHEN) is None
    endpoint.status = 500
    assert await model.read("could we talk about smaller steps", CHEN) is None


async def test_a_slow_model_abstains_and_a_spent_budget_asks_nothing(endpoint: ModelEndpoint) -> None:
    """A time-out of the settings, and so many calls a minute."""
    endpoint.hangs = True
    model = reader(endpoint, seconds=0.05, calls_per_minute=1)
    assert await model.read("hello", CHEN) is None
    asked = len(endpoint.heard)  # 0 on a machine that needs longer to send it
    assert await model.read("hello", CHEN) is None
    assert len(endpoint.heard) == asked <= 1


async def test_nothing_that_names_the_borrower_is_sent(endpoint: ModelEndpoint) -> None:
    """Names, addresses, links and numbers are gone; too long a text isn't sent at all."""
    text = "I am chen mei (B-1001), +886 912 345 678 or +886912345678, c@x.example, https://x.example/a, card 4111 1111"
    said = redacted(text, CHEN)
    for each in ("chen", "mei", "B-1001", "912", "x.example", "4111"):
        assert each not in said
    await reader(endpoint).read("y" * 301, CHEN)
    assert endpoint.heard == []


def test_a_model_that_is_not_installed_is_named() -> None:
    """With those that are."""
    with pytest.raises(ValueError, match="there is no model other; installed: openai"):
        open_model(ReplyModelSettings(kind="other"), [OPENAI])
    with pytest.raises(ValueError, match="can't be made: 'url'"):
        open_model(ReplyModelSettings(kind="openai"), [OPENAI])


async def test_a_plug_in_that_fails_abstains() -> None:
    """Whatever it raises."""

    class Broken:
        version = "broken"

        async def choose(self, text: str, intents: Sequence[str]) -> str:
            raise RuntimeError(text)

    results: list[ReplyModelResult] = []
    model = ReplyModelReader(Broken(), ReplyModelSettings(kind="broken"), lambda: 0.0, results.append)
    assert await model.read("hello", CHEN) is None
    assert await model.read("hello" * 100, CHEN) is None
    assert results == [ReplyModelResult.FAILED, ReplyModelResult.NOT_ASKED]
