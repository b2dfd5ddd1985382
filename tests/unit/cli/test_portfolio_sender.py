"""Sending a portfolio to a loopback server that is busy, slow, strict or broken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.cli import client
from gateway.cli.client import ApiTarget, CallFailed
from gateway.cli.portfolio import sender
from gateway.cli.portfolio.files import PortfolioRow, RowError

Answer = Callable[[list[dict[str, Any]]], web.StreamResponse]


class BatchServer:
    """Answers batches as told; remembers what it took."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.keys: list[str] = []
        self.next: list[Answer] = []  # for the next calls, before it becomes normal
        self.known: set[str] = set()

    async def batch(self, request: web.Request) -> web.StreamResponse:
        items = (await request.json())["notifications"]
        self.keys.append(request.headers["Authorization"])
        self.batches.append(items)
        return self.next.pop(0)(items) if self.next else self.take(items)

    def take(self, items: list[dict[str, Any]]) -> web.StreamResponse:
        results = []
        for number, item in enumerate(items):
            key = item["idempotency_key"]
            if item.get("bad"):
                pointer = f"/notifications/{number}/borrower/addresses/sms"
                errors = [{"pointer": pointer, "detail": "is a landline"}, {"pointer": "", "detail": "and odd"}]
                results.append({"index": number, "status": 422, "type": "/problems/x", "errors": errors})
            else:
                status = 200 if key in self.known else 202
                self.known.add(key)
                results.append({"index": number, "status": status, "id": f"ntf_{key}", "state": "accepted"})
        return web.json_response({"results": results}, status=202)


@pytest.fixture
async def server() -> AsyncIterator[tuple[BatchServer, ApiTarget]]:
    made = BatchServer()
    app = web.Application()
    app.router.add_post("/v1/notifications/batch", made.batch)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield made, ApiTarget(f"http://127.0.0.1:{runner.addresses[0][1]}", "ndg_key")
    await runner.cleanup()


def rows(number: int) -> list[PortfolioRow | RowError]:
    return [PortfolioRow(line, f"k{line}", {"n": line}) for line in range(2, number + 2)]


def busy(status: int = 503, retry_after: str = "0") -> Answer:
    return lambda items: web.Response(status=status, headers={"Retry-After": retry_after})


async def test_every_row_is_sent_once_in_batches(server: tuple[BatchServer, ApiTarget]) -> None:
    """Batches of the size asked for, each row with its key, in one or the other."""
    made, where = server
    seen: list[int] = []
    tally = await sender.send(rows(23), where, sender.SendOptions(batch_size=10, rows_done=seen.append))
    assert sorted(len(batch) for batch in made.batches) == [3, 10, 10]
    assert sorted(item["n"] for batch in made.batches for item in batch) == list(range(2, 25))
    assert (tally.requests, tally.accepted, tally.replayed, tally.rejected) == (23, 23, 0, 0)
    assert sum(seen) == 23
    assert set(made.keys) == {"Bearer ndg_key"}
    again = await sender.send(rows(23), where)
    assert (again.accepted, again.replayed) == (0, 23)


async def test_bad_rows_are_told_with_line_and_field_and_stop_nothing(server: tuple[BatchServer, ApiTarget]) -> None:
    """A row counts as rejected once, however many of its fields are wrong, whoever noticed."""
    _, where = server
    told: list[RowError] = []
    mixed = [*rows(3), RowError(5, "late", "is not a number"), PortfolioRow(6, "k6", {"bad": True})]
    tally = await sender.send(mixed, where, sender.SendOptions(bad_row=told.append))
    assert (tally.requests, tally.accepted, tally.rejected) == (5, 3, 2)
    assert told == [
        RowError(5, "late", "is not a number"),
        RowError(6, "borrower.addresses.sms", "is a landline"),
        RowError(6, "", "and odd"),
    ]
    assert [each["line"] for each in tally.view()["errors"]] == [5, 6, 6]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_gateway_is_asked_again(server: tuple[BatchServer, ApiTarget], status: int) -> None:
    """The same batch again, after Retry-After; nothing is lost."""
    made, where = server
    made.next = [busy(status), busy(status)]
    tally = await sender.send(rows(5), where)
    assert tally.accepted == 5
    assert len(made.batches) == 3


async def test_a_lost_answer_is_no_second_request(server: tuple[BatchServer, ApiTarget]) -> None:
    """A batch that was taken, and whose answer was lost, counts as replayed when it is sent again."""
    made, where = server

    def lost(items: list[dict[str, Any]]) -> web.StreamResponse:
        made.take(items)
        return web.Response(status=502)

    made.next = [lost]
    tally = await sender.send(rows(5), where)
    assert (tally.accepted, tally.replayed) == (0, 5)
    assert len(made.known) == 5


async def test_a_batch_with_too_many_bytes_is_halved(server: tuple[BatchServer, ApiTarget]) -> None:
    """Down to a single row, which is then the one rejected."""
    made, where = server
    made.next = [busy(413)] * 3  # four rows, then two, then the first one alone
    tally = await sender.send(rows(4), where)
    assert (tally.accepted, tally.rejected) == (3, 1)
    assert tally.errors == [RowError(2, "", "is larger than the gateway takes")]


async def test_a_refused_key_ends_the_run(server: tuple[BatchServer, ApiTarget]) -> None:
    """What no repetition can mend is told at once, with the gateway's own words."""
    made, where = server
    problem = {"title": "No valid key", "detail": "Make one.", "errors": [{"pointer": "/a/b", "detail": "no"}]}
    made.next = [lambda items: web.json_response(problem, status=401)] * 3
    with pytest.raises(CallFailed, match=r"No valid key. Make one: a\.b: no"):
        await sender.send(rows(5), where)
    assert len(made.batches) == 1


async def test_something_that_is_no_gateway_is_told(server: tuple[BatchServer, ApiTarget]) -> None:
    """Another number of results, or no JSON at all, is not taken for success."""
    made, where = server
    made.next = [lambda items: web.json_response({"results": []})]
    with pytest.raises(CallFailed, match="one result per request"):
        await sender.send(rows(5), where)
    made.next = [lambda items: web.Response(text="<html>")]
    with pytest.raises(CallFailed, match="not JSON"):
        await sender.send(rows(5), where)


async def test_giving_up_says_that_running_again_is_safe() -> None:
    """Nobody listens: after the time given, one line that says what to do."""
    where = ApiTarget("http://127.0.0.1:1", "k")
    with pytest.raises(CallFailed, match="run the same command again"):
        await sender.send(rows(5), where, sender.SendOptions(give_up_seconds=0.3))


def test_the_target_is_given_or_the_demo_that_is_up(tmp_path: Path) -> None:
    """A demo's key is used for the demo only."""
    with pytest.raises(CallFailed, match="--url"):
        client.find("", "k", tmp_path)
    (tmp_path / "demo.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "api_key": "demo-key"}))
    assert client.find("", "", tmp_path) == ApiTarget("http://127.0.0.1:9", "demo-key")
    assert client.find("http://127.0.0.1:9/", "", tmp_path).key == "demo-key"
    assert client.find("https://elsewhere.example", "mine", tmp_path).url == "https://elsewhere.example"
    with pytest.raises(CallFailed, match="--key"):
        client.find("https://elsewhere.example", "", tmp_path)
    assert "demo-key" not in repr(client.find("", "", tmp_path))
