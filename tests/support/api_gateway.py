"""A gateway's HTTP side for tests, on a real ledger and real channels, with a real server in front of it.

The templates and the policy are the one thing made up here: a catalogue of one template, and a policy that permits.
Tests of those run on the whole gateway, in tests/e2e.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis

from channels.base import Channel, Content, Provider
from channels.email import CHANNEL as EMAIL
from channels.inapp import CHANNEL as INAPP
from channels.sms import CHANNEL as SMS
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, HttpSettings, Parts
from gateway.app.settings import Settings
from gateway.borrowers.inbox import Inbox
from gateway.borrowers.store import BorrowerStore
from gateway.core.model import Notification, PolicyReason, Verdict, VerdictKind
from gateway.core.ports import Clock, FieldError, NotificationRequest, TemplateInfo, UnknownTemplate
from gateway.core.signing import Signer
from gateway.dry_run import Forecaster
from gateway.identity.keys import Keys
from gateway.observability.metrics import Metrics
from gateway.observability.readiness import Probe
from gateway.operations.controls import Controls
from gateway.operations.dead_letters import DeadLetters
from gateway.operations.reviews import Reviews
from gateway.pipeline import Pipeline, Stages
from gateway.policy import Packs, load_packs
from gateway.queue.subscriptions import FeedNotifier
from gateway.queue.token_buckets import RateLimiter, TokenBuckets
from gateway.replies.rules import load_words
from gateway.replies.store import ReplyStore
from gateway.stages.accept import RequestValidator
from gateway.stages.classify_reply import ReplyClassifier
from gateway.stages.reconcile import OutcomeReconciler
from gateway.stages.route import ProviderRouter
from gateway.stages.schedule import RetrySchedule
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder
from gateway.storage.database import Database
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.reads import Reads
from gateway.storage.store import Store
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.guard import Guard
from gateway.webhooks.outbox import WebhookOutbox
from gateway.webhooks.runner import Webhooks
from gateway.webhooks.sender import WebhookSender
from tests.support.ledgers import NOW, empty_sqlite

POLICIES = Path(__file__).parents[2] / "templates" / "policies"
PACKS = {"tw": ("default", "tw"), "us": ("default", "us_regf"), "cn": ("default", "cn")}
CHANNELS: Mapping[str, Channel] = {"sms": SMS, "email": EMAIL, "inapp": INAPP}


@dataclass(frozen=True)
class OneTemplate:
    """``overdue-first``, in its version 1, with the one variable ``amount``."""

    version: str = "1"
    category: str = "collections"
    must_arrive: bool = False
    channels: Sequence[str] = ("sms", "email", "inapp")

    def resolve(self, tenant: str, template_id: str, version: str | None, now: datetime) -> TemplateInfo:
        if template_id != "overdue-first" or version not in (None, "1"):
            raise UnknownTemplate
        return self

    async def ensure(self, keys: Iterable[tuple[str, str, str]]) -> None:
        """It is always at hand."""

    def wrong_variables(self, tenant: str, incoming: NotificationRequest, version: str) -> Sequence[FieldError]:
        return [] if "amount" in incoming.variables else [FieldError("/variables/amount", "is required")]

    def render(self, notification: Notification, channel: str) -> Content:
        return Content(f"{notification.variables['amount']} is due.", "Reminder")


class _Addresses:
    def normalise(self, channel: str, address: str) -> str:
        return CHANNELS[channel].normalise(address)


@dataclass
class ApiGateway:
    """What the routes use of a whole gateway."""

    settings: Settings
    clock: Clock
    database: Database
    reads: Reads
    people: BorrowerStore
    reviews: Reviews
    dead_letters: DeadLetters
    switches: Controls
    keys: Keys
    inbox: Inbox
    signer: Signer
    packs: Packs
    metrics: Metrics
    webhooks: Webhooks
    webhook_endpoints: WebhookEndpoints
    webhook_guard: Guard
    wakeups: FeedNotifier
    pipeline: Pipeline
    forecaster: Forecaster
    store: Store
    providers: Mapping[str, Provider]
    channels: Mapping[str, Channel] = field(default_factory=lambda: CHANNELS)
    not_ready: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        settings = self.settings
        return Parts(
            HttpSettings(settings.effective_public_url, settings.max_body_bytes, settings.test_addresses),
            GatewayClock(self.clock),
            ConfiguredChannels(self.channels, self.providers),
            self.database,
            self.dead_letters,
            self.forecaster,
            self.inbox,
            self.keys,
            self.metrics,
            self.packs,
            self.people,
            self.pipeline,
            self.reads,
            self.readiness,
            self.reviews,
            self.signer,
            self.store,
            self.switches,
            self.wakeups,
            self.webhook_endpoints,
            self.webhook_guard,
        )

    @property
    def readiness(self) -> Probe:
        async def word(name: str) -> str:
            return self.not_ready.get(name, "")

        return Probe({name: partial(word, name) for name in ("ledger", "migrations", "redis", "templates")})


@asynccontextmanager
async def open_api_gateway(directory: Path, redis: Redis, **settings: Any) -> AsyncIterator[ApiGateway]:
    """Everything behind the API, with a clock that stands at ``NOW``."""

    def clock() -> Any:
        return NOW

    def permit(*_arguments: Any, **_named: Any) -> Verdict:
        return Verdict(VerdictKind.SEND, PolicyReason.PERMITTED, time_zones=("Asia/Taipei",))

    chosen = Settings(data_dir=directory, secret_key="0123456789abcdef", **settings)
    database = Database(empty_sqlite(directory))
    signer = Signer(chosen.key())
    wakeups = FeedNotifier(redis, signer.topic)
    inbox = Inbox(database, clock, wakeups.publish)
    twilio = {
        "account_sid": "AC" + "0" * 32,
        "auth_token": "ab" * 16,
        "from_number": "+15005550006",
        "base_url": "http://127.0.0.1:9",
    }
    providers = {
        "feed": INAPP.build("feed", "feed", {}, {"inbox": inbox}),
        "twilio": SMS.build("twilio", "twilio", twilio, {"clock": clock}),
    }
    metrics = Metrics(CHANNELS, [(each.channel, name) for name, each in providers.items()])
    store = Store(database, signer.digest, metrics.transaction, DeferralSpreader(0))
    templates = OneTemplate()

    async def trigger(_ids: Sequence[str]) -> None:
        """Nobody works here: what is accepted stays accepted."""

    people = BorrowerStore(database, signer.digest, clock)
    words = load_words(POLICIES / "replies.toml")
    lender = {"lender": "Example Bank", "phone": "+1 202 555 0100", "help_url": "https://example.com/help"}
    switches = Controls(database, clock)
    guard = Guard(chosen.webhook_networks)
    webhook_sender = WebhookSender(guard, signer.webhook_secret, lambda: datetime.now(UTC))
    acceptor = RequestValidator(templates, _Addresses(), permit, signer.digest)
    sender = Sender(providers, signer.reference, chosen.effective_public_url, clock, signer.unsubscribe_token)
    capabilities = {name: each.capability for name, each in providers.items()}
    settler = OutcomeRecorder(RetrySchedule(timedelta(hours=72), timedelta(seconds=30), 6), capabilities)
    pipeline = Pipeline(
        ledger=store,
        people=people,
        replies=ReplyStore(database, signer.digest, clock),
        switches=switches,
        stages=Stages(
            acceptor=acceptor,
            templates=templates,
            decide=permit,
            chooser=ProviderRouter(providers, {}),
            sender=sender,
            enquirer=OutcomeReconciler(store, providers, templates, sender, settler, clock),
            settler=settler,
            listener=ReplyClassifier(words, lambda jurisdiction: PACKS[jurisdiction], lender),
        ),
        providers=providers,
        open_reference=signer.open_reference,
        trigger=trigger,
        pace=RateLimiter(TokenBuckets(redis), {}),
        observer=metrics,
        clock=clock,
        lease_seconds=60,
    )
    gateway = ApiGateway(
        settings=chosen,
        clock=clock,
        database=database,
        reads=Reads(database),
        people=people,
        reviews=Reviews(database, signer.digest, clock),
        dead_letters=DeadLetters(database, signer.digest, clock),
        switches=switches,
        keys=Keys(database, signer),
        inbox=inbox,
        signer=signer,
        packs=load_packs(Path(__file__).parents[2] / "templates" / "policies"),
        metrics=metrics,
        webhooks=Webhooks(WebhookOutbox(database), webhook_sender, metrics, clock, 0.05),
        webhook_endpoints=WebhookEndpoints(database, signer.webhook_secret, clock),
        webhook_guard=guard,
        wakeups=wakeups,
        pipeline=pipeline,
        forecaster=Forecaster(store, acceptor, permit, clock),
        store=store,
        providers=providers,
    )
    try:
        yield gateway
    finally:
        for provider in providers.values():
            await provider.close()
        await webhook_sender.close()
        await wakeups.close()
        await database.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """The application behind a real HTTP server on a free port of loopback; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 – uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@dataclass(frozen=True)
class Client:
    """An HTTP client with one API key, or another token."""

    session: aiohttp.ClientSession
    url: str
    token: str

    def holding(self, token: str) -> Client:
        return Client(self.session, self.url, token)

    async def call(self, method: str, path: str, json: Any = None, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers.update(options.pop("headers", {}))
        if json is not None:
            options["json"] = json
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            raw = await response.read()
            is_json = response.content_type.endswith("json")
            return Answer(
                response.status,
                response.headers,
                await response.json(content_type=None) if is_json and raw else None,
                raw,
            )

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json, **options)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    json: Any
    raw: bytes

    @property
    def problem(self) -> str:
        """The last word of the problem's type."""
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.raw)
        assert self.json["status"] == self.status
        assert self.json["request_id"] == self.headers["X-Request-ID"]
        return str(self.json["type"]).removeprefix("/problems/")

    @property
    def pointers(self) -> list[str]:
        return [each["pointer"] for each in self.json.get("errors", [])]


def request(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A request that every gateway with the template ``overdue-first`` takes."""
    body: dict[str, Any] = {
        "borrower": {
            "id": f"B-{number}",
            "name": "Chen Mei",
            "locale": "zh-TW",
            "jurisdiction": "tw",
            "time_zones": ["Asia/Taipei"],
            "addresses": {"sms": "+886912345678", "email": f"b{number}@example.com", "inapp": f"B-{number}"},
        },
        "case": {"id": f"C-{number}", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
        "template": "overdue-first",
        "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"},
        "route": [{"channel": "sms", "wait": "PT30M", "until": "delivered"}, "inapp"],
        "category": "collections",
    }
    return {**body, **changes}
