"""A danger phrase in a whole gateway, watched by a real Prometheus with the shipped rules."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from channels.base import Reply
from gateway.core.conversations import ConversationOutcome, ConversationState
from gateway.core.reasons import HoldKind, Intent
from tests.drills.monitoring import Watch, watching
from tests.ops.promtool import tool
from tests.support.production import free_port
from tests.support.waiting import eventually
from tests.support.whole_gateway import REQUEST, Running, up

ALERT = "GatewayUrgentReplyWaits"
TEMPLATES = Path(__file__).parents[2] / "templates"


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gw-"))
    copytree(TEMPLATES, made / "templates")
    intents = made / "templates" / "policies" / "replies" / "intents.toml"
    # The clock of danger in two seconds, and everything else as it ships.
    shipped = intents.read_text("utf-8")
    assert shipped.count("review_within_minutes = 15\n") == 1
    intents.write_text(shipped.replace("review_within_minutes = 15\n", "review_within_minutes = 0.03\n"), "utf-8")
    yield made
    rmtree(made, ignore_errors=True)


async def _firing(watch: Watch) -> list[Mapping[str, str]]:
    found = await watch.query(f'ALERTS{{alertname="{ALERT}",alertstate="firing"}}')
    return [each["metric"] for each in found]


async def test_danger_is_held_before_the_provider_is_answered_and_pages_until_somebody_answers(folder: Path) -> None:
    """When the push returns, hold and review are in the ledger; past its clock the alert fires.

    Deciding the review does not end it: only an answer does, or closing the conversation.
    """
    tool("prometheus", "prometheus")
    port = free_port()
    async with up("2026-11-24T10:00:00+08:00", metrics_port=port, templates_dir=folder / "templates") as running:
        targets = {job: [port] for job in ("gateway-api", "gateway-worker")}
        async with watching(folder / "watch", targets, 30, alerting=False) as watch:
            status, _ = await running.call("POST", "/v1/notifications", REQUEST, **{"Idempotency-Key": "k"})
            assert status == 202
            provider = next(name for name, each in running.gateway.providers.by_name.items() if each.channel == "sms")
            reply = Reply(provider, "SM1", "+12025550123", "再打來我就從樓上跳下去")
            await running.gateway.path.receiver.handle_provider_push(provider, [], [reply])
            known = await running.gateway.ledger.reads.borrower("acme", "B-1001")
            assert known is not None
            assert HoldKind.VULNERABLE in {each["kind"] for each in known["holds"]}
            reviews = running.gateway.operations.reviews
            [item] = await reviews.waiting("acme", Intent.DANGER, 10)
            await eventually(lambda: _firing(watch))
            assert await reviews.refuse("acme", item["id"], "spoken to them; the hold stays", "user:a")
            await _stays_firing(running, watch)
            await _closed(running)
            await eventually(lambda: _is_over(watch))


async def _stays_firing(running: Running, watch: Watch) -> None:
    """Three samples after the review's own gauge is back at zero, the alert still fires."""

    async def review_is_over() -> bool:
        found = await watch.query('max(gateway_review_overdue_seconds{urgency="now"})')
        return [each["value"][1] for each in found] == ["0"]

    await eventually(review_is_over)
    assert await _firing(watch)


async def _is_over(watch: Watch) -> bool:
    return not await _firing(watch)


async def _closed(running: Running) -> None:
    services = running.gateway.conversations
    [waiting] = await services.store.queue("acme", ConversationState.WAITING, 5)
    await services.desk.claim("acme", waiting.id, "user:a")
    await services.desk.close("acme", waiting.id, "user:a", ConversationOutcome.REFERRED, "called, and is safe")
