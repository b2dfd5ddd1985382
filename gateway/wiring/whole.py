"""A whole gateway: every part, made in the order in which each needs the others, and taken apart again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from channels import registry
from channels.base import Channel, Provider
from gateway import policy
from gateway.audit.auditor import Auditor
from gateway.audit.figures import Figures
from gateway.catalog import Catalog
from gateway.catalog.editing import Editing
from gateway.catalog.following import Follower
from gateway.catalog.transfer import Transfer
from gateway.catalog.trial import TrialSender
from gateway.embedded import valkey
from gateway.embedded.errors import CannotStart
from gateway.embedded.world import World
from gateway.forecast import Forecaster
from gateway.hot.connection import connect, open_pool
from gateway.hot.frames import Frames
from gateway.hot.tokens import Pacer, TokenBuckets
from gateway.hot.wakeups import Wakeups
from gateway.jobs import Queue
from gateway.ledger.database import Database
from gateway.ledger.dead_letters import DeadLetters
from gateway.ledger.editions import Editions
from gateway.ledger.inbox import Inbox
from gateway.ledger.keys import Keys
from gateway.ledger.migrate import lacks, lacks_on
from gateway.ledger.people import People
from gateway.ledger.reads import Reads
from gateway.ledger.releases import Releases
from gateway.ledger.replies import Replies
from gateway.ledger.reviews import Reviews
from gateway.ledger.sessions import Attempts, Sessions
from gateway.ledger.store import Store
from gateway.ledger.switches import Switches
from gateway.ledger.template_versions import TemplateVersions
from gateway.ledger.users import Users
from gateway.ledger.webhook_endpoints import WebhookEndpoints
from gateway.ledger.webhook_outbox import WebhookOutbox
from gateway.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.ports import Clock
from gateway.readiness import Probe
from gateway.settings import Settings
from gateway.signing import Signer
from gateway.stages.choose import Chooser
from gateway.webhooks.guard import Guard
from gateway.webhooks.runner import Webhooks
from gateway.webhooks.sender import WebhookSender
from gateway.wiring.ledger import open_ledger
from gateway.wiring.providers import build_provider, provider_entries, rates
from gateway.wiring.stages import ChannelAddresses, build_stages
from gateway.wiring.texts import build_editing, load_catalog, policies_folder


@dataclass(slots=True)
class Gateway:
    """Everything, wired. Entry points take from here what they need."""

    settings: Settings
    clock: Clock
    pipeline: Pipeline
    forecaster: Forecaster
    store: Store
    database: Database
    reads: Reads
    people: People
    reviews: Reviews
    dead_letters: DeadLetters
    switches: Switches
    auditor: Auditor
    webhooks: Webhooks
    webhook_endpoints: WebhookEndpoints
    webhook_guard: Guard
    chooser: Chooser
    keys: Keys
    users: Users
    sessions: Sessions
    attempts: Attempts
    frames: Frames
    inbox: Inbox
    catalog: Catalog
    editing: Editing
    transfer: Transfer
    follower: Follower
    channels: Mapping[str, Channel]
    providers: Mapping[str, Provider]
    metrics: Metrics
    wakeups: Wakeups
    queue: Queue
    signer: Signer
    packs: policy.Packs
    redis_url: str
    world: World | None
    readiness: Probe


@asynccontextmanager
async def open_gateway(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """A whole gateway, embedded parts included, until the block is left. Raises CannotStart."""
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings))
        clock = clock or ledger.clock
        if settings.database_url and (reason := await asyncio.to_thread(lacks, ledger.database.engine)):
            raise CannotStart(reason)
        redis_url = settings.redis_url or await _embedded_redis(stack, settings.data_dir)
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        wakeups = Wakeups(redis, ledger.signer.topic)
        stack.push_async_callback(wakeups.close)
        queue = Queue(partial(open_pool, redis_url, timeout=0.5, retries=0), settings.batch_size)
        stack.push_async_callback(queue.close)

        channels = registry.discover()
        inbox = Inbox(ledger.database, clock, wakeups.publish)
        entries, outside = await provider_entries(stack, settings, clock)
        services = {"clock": clock, "inbox": inbox}
        providers = {str(each["name"]): build_provider(channels, each, services) for each in entries}
        for provider in providers.values():
            stack.push_async_callback(provider.close)

        versions = TemplateVersions(ledger.database)
        catalog = load_catalog(settings, versions)
        try:
            packs = policy.load_packs(policies_folder(settings))
            words = policy.load_words(policies_folder(settings) / "replies.toml")
        except ValueError as error:
            raise CannotStart(f"policies: {error}") from error
        await versions.keep([(each.id, each.version, each.source.dump()) for each in catalog.live()], clock())
        await catalog.refresh()
        metrics = Metrics(
            channels=list(channels),
            providers=[(each.channel, name) for name, each in providers.items()],
            templates=[each.id for each in catalog.live()],
            tenants=settings.metrics_tenants,
        )
        releases = Releases(settings.releases_per_second)
        store = Store(ledger.database, ledger.signer.digest, metrics.transaction, releases)
        people = People(ledger.database, ledger.signer.digest, clock)
        switches = Switches(ledger.database, clock)
        chooser = Chooser(providers, {str(each["name"]): float(each.get("weight", 1)) for each in entries})
        stages = build_stages(
            settings,
            clock,
            ledger.signer,
            channels,
            providers,
            chooser,
            catalog,
            packs,
            words,
            store,
            outside is not None,
        )
        pace = Pacer(TokenBuckets(redis), rates(entries))
        editions = Editions(ledger.database, clock)
        trials = TrialSender(
            editions,
            providers,
            chooser,
            switches,
            pace,
            ChannelAddresses(channels),
            ledger.signer.digest,
            clock,
        )
        editing, transfer = build_editing(settings, ledger, clock, catalog, packs, editions, trials)
        pipeline = Pipeline(
            ledger=store,
            people=people,
            replies=Replies(ledger.database, ledger.signer.digest, clock),
            switches=switches,
            stages=stages,
            providers=providers,
            open_reference=ledger.signer.open_reference,
            trigger=queue.enqueue,
            pace=pace,
            observer=metrics,
            clock=clock,
            lease_seconds=settings.lease_seconds,
        )
        stack.push_async_callback(pipeline.drain)
        guard = _guard(settings)
        # Receivers compare the time of a message with their own clock, whatever time a demonstration plays in.
        webhook_sender = WebhookSender(guard, ledger.signer.webhook_secret, lambda: datetime.now(UTC))
        stack.push_async_callback(webhook_sender.close)
        readiness = _probe(ledger.database, redis, catalog)
        stack.push_async_callback(readiness.close)
        yield Gateway(
            settings=settings,
            clock=clock,
            pipeline=pipeline,
            forecaster=Forecaster(store, stages.acceptor, stages.decide, clock),
            store=store,
            database=ledger.database,
            reads=ledger.reads,
            people=people,
            reviews=Reviews(ledger.database, ledger.signer.digest, clock),
            dead_letters=DeadLetters(ledger.database, ledger.signer.digest, clock),
            switches=switches,
            auditor=Auditor(ledger.database, Figures.load(policies_folder(settings))),
            webhooks=Webhooks(WebhookOutbox(ledger.database), webhook_sender, metrics, clock, settings.webhook_seconds),
            webhook_endpoints=WebhookEndpoints(ledger.database, ledger.signer.webhook_secret, clock),
            webhook_guard=guard,
            chooser=chooser,
            keys=ledger.keys,
            users=ledger.users,
            sessions=Sessions(ledger.database, ledger.signer),
            attempts=Attempts(ledger.database, ledger.signer),
            frames=Frames(redis),
            inbox=inbox,
            catalog=catalog,
            editing=editing,
            transfer=transfer,
            follower=Follower(catalog, editions, metrics, clock),
            channels=channels,
            providers=providers,
            metrics=metrics,
            wakeups=wakeups,
            queue=queue,
            signer=ledger.signer,
            packs=packs,
            redis_url=redis_url,
            world=outside,
            readiness=readiness,
        )


def _guard(settings: Settings) -> Guard:
    try:
        return Guard(settings.webhook_networks)
    except ValueError as error:
        raise CannotStart(f"GATEWAY_WEBHOOK_NETWORKS: {error}; write networks like 10.1.0.0/16") from error


def _probe(database: Database, redis: Any, catalog: Catalog) -> Probe:
    async def ledger() -> str:
        await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        return ""

    async def answers() -> str:
        await redis.ping()
        return ""

    async def templates() -> str:
        return "" if catalog.live() else "there is no template"

    return Probe(
        {
            "ledger": ledger,
            "migrations": lambda: database.read(lacks_on),
            "redis": answers,
            "templates": templates,
        }
    )


async def _embedded_redis(stack: AsyncExitStack, data_dir: Path) -> str:
    server = await valkey.start(data_dir)
    stack.push_async_callback(server.stop)
    return server.url
