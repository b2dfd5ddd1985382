"""A thousand borrowers go the way of requests, and the number of series stays what it was."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving

_BORROWERS, _BATCH = 1_000, 500


def _series(text: str) -> set[str]:
    """Every series by name and labels, without its value."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


async def test_a_thousand_borrowers_add_no_series(tmp_path: Path, redis_url: str) -> None:
    """Requests of a thousand borrowers, each with a case of their own, are taken: not one series more."""
    async with open_api_gateway(tmp_path, redis_url) as gateway:
        _, key = await gateway.ledger.keys.create("acme", "test", ["send"], gateway.ledger.clock())
        async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
            client = Client(session, url, key)
            before = _series(gateway.path.metrics.render()[0].decode())
            for start in range(0, _BORROWERS, _BATCH):
                batch = [request(start + number, idempotency_key=f"k{start + number}") for number in range(_BATCH)]
                answer = await client.post("/v1/notifications/batch", {"notifications": batch})
                assert answer.json["accepted"] == _BATCH, answer.raw[:500]
            text = gateway.path.metrics.render()[0].decode()
    assert _series(text) == before
    assert f'gateway_accepted_total{{outcome="created"}} {_BORROWERS}.0' in text
    assert len(before) < 2_000  # a scrape of some hundred kilobytes
