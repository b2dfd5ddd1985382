#!/usr/bin/env python3
"""What a borrower's reply costs, in milliseconds of processor: understanding it, and the whole way in.

    python ops/bench/replies.py [--replies 1000] [--at-once 16] [--ledger sqlite|postgresql]

The texts are our corpus (ops/replies/corpus). The whole way is what a provider's callback takes behind HTTP: signature,
understanding, the transaction with hold, review and conversation; each reply is of a borrower of its own. SQLite runs
with full sync and in this process; of PostgreSQL (without fsync) the server's own time is not counted. Statements are
round trips without BEGIN and COMMIT. Exits 1 where a reply takes more than a two-hundredth of a second.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parents[2]))

import structlog
from sqlalchemy import create_engine

from channels.base import CallbackRequest
from channels.twilio.shapes import sign
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway
from gateway.replies.corpus import read_corpus
from gateway.replies.understanding import load_interpreter
from gateway.storage.upgrade.migrate import migrate
from tests.support.api_gateway import open_api_gateway, request
from tests.support.storage.ledgers import NOW, begun, empty_sqlite
from tests.support.storage.postgresql import PostgresServer

ROOT = Path(__file__).parents[2]
_LEAST_A_SECOND = 200
_TOKEN = "ab" * 16  # of tests.support.api_gateway's provider
_POLICIES = ROOT / "templates" / "policies"


async def _known(gateway: Gateway, number: int) -> None:
    """A message to each borrower, so that their replies have a sender."""
    await gateway.ledger.keys.create("acme", "bench", ["send"], NOW)
    for at in range(0, number, 100):
        taken = []
        for one in range(at, min(at + 100, number)):
            body = request()
            body["borrower"]["id"], body["case"]["id"] = f"B-{one}", f"C-{one}"
            body["borrower"]["addresses"]["sms"] = _phone(one)
            taken.append(NotificationIn.model_validate(body).incoming(f"k-{one}", body))
        await gateway.path.pipeline.accept("acme", taken)


def _phone(number: int) -> str:
    return f"+8869{number:08}"


def _callback(number: int, text: str) -> CallbackRequest:
    """Twilio's, signed."""
    url = "https://gateway.example.com/v1/inbound/twilio"
    form = {"MessageSid": f"SM{number}", "From": _phone(number), "Body": text}
    headers = {"x-twilio-signature": sign(_TOKEN, url, form), "content-type": "application/x-www-form-urlencoded"}
    return CallbackRequest(url, headers, {}, urlencode(form).encode())


@contextmanager
def _ledger(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a ledger of that kind, as after a first start."""
    if kind == "sqlite":
        yield begun(empty_sqlite(folder))
        return
    with PostgresServer() as server:
        engine = create_engine(server.url)
        migrate(engine)
        engine.dispose()
        yield begun(server.url)


async def _whole_way(texts: Sequence[str], at_once: int, kind: str) -> tuple[float, float]:
    """Seconds of processor for each reply, and statements."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder, _ledger(kind, Path(folder)) as url:
        settings: dict[str, Any] = {"public_url": "https://gateway.example.com", "database_url": url}
        async with open_api_gateway(Path(folder), "", **settings) as gateway:
            await _known(gateway, len(texts))
            calls = [_callback(number, text) for number, text in enumerate(texts)]
            before, started = gateway.ledger.database.statements, time.process_time()
            for at in range(0, len(calls), at_once):
                some = calls[at : at + at_once]
                await asyncio.gather(*(gateway.path.receiver.reply("twilio", each) for each in some))
            took = time.process_time() - started
            statements = gateway.ledger.database.statements - before
            ages = await gateway.path.store.ages(gateway.ledger.clock())
            assert sum(each.waiting for each in ages.conversations.values()) > len(texts) // 2
    return took / len(texts), statements / len(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replies", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--ledger", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    corpus = [each.text for each in read_corpus(ROOT / "ops" / "replies" / "corpus")]
    texts = [corpus[number % len(corpus)] for number in range(options.replies)]
    interpreter = load_interpreter(_POLICIES)
    started = time.process_time()
    for text in texts:
        interpreter.understand(text, ("default",))
    understanding = (time.process_time() - started) / len(texts)
    whole, statements = asyncio.run(_whole_way(texts, options.at_once, options.ledger))
    size = sum(path.stat().st_size for path in (_POLICIES / "replies").rglob("*") if path.is_file())
    print(f"{len(texts)} replies, {options.at_once} at once, {options.ledger}; rules and weights {size / 1e6:.2f} MB")
    for name, seconds in (("understanding", understanding), ("the whole way in", whole)):
        print(f"{name:20}{1000 * seconds:>8.2f} ms of processor{1 / seconds:>10.0f} a second of one core")
    print(f"{'statements a reply':20}{statements:>8.2f}")
    sys.exit(1 / whole < _LEAST_A_SECOND)


if __name__ == "__main__":
    main()
