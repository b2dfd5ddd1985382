"""A whole gateway: every part, made in the order in which each needs the others, and taken apart again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from channels.base import Channel, Provider
from gateway import policy
from gateway.app.embedded.errors import CannotStart
from gateway.app.embedded.simulated_providers import SimulatedProviders
from gateway.app.pipeline import PathParts, open_path
from gateway.app.providers import Providers, open_ways
from gateway.app.redis import RedisServices, open_hot
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts, open_ledger
from gateway.app.template_services import TemplateServices, build_desk
from gateway.app.templates import LoadedTemplates, policies_folder, read_texts
from gateway.borrowers.inbox import Inbox
from gateway.borrowers.store import BorrowerStore
from gateway.core.clock import Clock
from gateway.core.signing import Signer
from gateway.dry_run import Forecaster
from gateway.evidence.audit.auditor import Auditor
from gateway.evidence.audit.figures import Figures
from gateway.identity.keys import Keys
from gateway.identity.sessions import Attempts, Sessions
from gateway.identity.users import Users
from gateway.observability.metrics import Metrics
from gateway.observability.readiness import Probe
from gateway.operations.controls import Controls
from gateway.operations.dead_letters import DeadLetters
from gateway.operations.reviews import Reviews
from gateway.pipeline import Pipeline
from gateway.queue.jobs import Queue
from gateway.queue.preview_cache import PreviewCache
from gateway.queue.subscriptions import FeedNotifier
from gateway.stages.route import ProviderRouter
from gateway.storage.database import Database
from gateway.storage.migrate import REVISION, pending_migration, pending_migration_at
from gateway.storage.reads import Reads
from gateway.storage.statements import StatementTemplate
from gateway.storage.store import Store
from gateway.templates import Catalog
from gateway.templates.workflow.publication_watcher import PublicationWatcher
from gateway.templates.workflow.transfer import Transfer
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.guard import Guard
from gateway.webhooks.outbox import WebhookOutbox
from gateway.webhooks.runner import Webhooks
from gateway.webhooks.sender import WebhookSender


@dataclass(slots=True)
class Gateway:
    """Everything, wired. Entry points take from here what they need."""

    settings: Settings
    clock: Clock
    database: Database
    signer: Signer
    reads: Reads
    keys: Keys
    users: Users
    redis_url: str
    wakeups: FeedNotifier
    queue: Queue
    frames: PreviewCache
    channels: Mapping[str, Channel]
    providers: Mapping[str, Provider]
    router: ProviderRouter
    inbox: Inbox
    world: SimulatedProviders | None
    catalog: Catalog
    packs: policy.Packs
    metrics: Metrics
    store: Store
    people: BorrowerStore
    switches: Controls
    pipeline: Pipeline
    forecaster: Forecaster
    reviews: Reviews
    dead_letters: DeadLetters
    auditor: Auditor
    sessions: Sessions
    attempts: Attempts
    editing: TemplateWorkflow
    transfer: Transfer
    follower: PublicationWatcher
    webhooks: Webhooks
    webhook_guard: Guard
    webhook_endpoints: WebhookEndpoints
    readiness: Probe


@asynccontextmanager
async def open_gateway(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """A whole gateway, embedded parts included, until the block is left. Raises CannotStart.

    ``clock`` replaces the clock that the settings name, for tests. What was opened is closed in reverse, also where a
    later part can't start.
    """
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings, clock=clock))
        if settings.database_url and (reason := await asyncio.to_thread(pending_migration, ledger.database.engine)):
            raise CannotStart(reason)
        hot = await open_hot(stack, ledger)
        ways = await open_ways(stack, ledger, hot.wakeups)
        texts = await read_texts(ledger)
        path = open_path(stack, ledger, hot, ways, texts)
        beside = _open_beside(stack, ledger, hot, ways, texts, path)
        yield _whole(ledger, hot, ways, texts, path, beside)


@dataclass(frozen=True, slots=True)
class _Auxiliary:
    """What goes on beside the path: the editors' desk, webhooks to the case systems, and questions of readiness."""

    desk: TemplateServices
    guard: Guard
    webhooks: Webhooks
    readiness: Probe


def _open_beside(
    stack: AsyncExitStack,
    ledger: LedgerParts,
    hot: RedisServices,
    ways: Providers,
    texts: LoadedTemplates,
    path: PathParts,
) -> _Auxiliary:
    desk = build_desk(ledger, ways, texts, path)
    guard = _guard(ledger.settings)
    # Receivers compare the time of a message with their own clock, whatever time a demonstration plays in.
    sender = WebhookSender(guard, ledger.signer.webhook_secret, lambda: datetime.now(UTC))
    stack.push_async_callback(sender.close)
    outbox = WebhookOutbox(ledger.database)
    webhooks = Webhooks(outbox, sender, path.metrics, ledger.clock)
    stack.push_async_callback(webhooks.finish)
    readiness = _probe(ledger.database, hot, texts.catalog)
    stack.push_async_callback(readiness.close)
    return _Auxiliary(desk, guard, webhooks, readiness)


def _whole(
    ledger: LedgerParts,
    hot: RedisServices,
    ways: Providers,
    texts: LoadedTemplates,
    path: PathParts,
    beside: _Auxiliary,
) -> Gateway:
    return Gateway(
        settings=ledger.settings,
        clock=ledger.clock,
        database=ledger.database,
        signer=ledger.signer,
        reads=ledger.reads,
        keys=ledger.keys,
        users=ledger.users,
        redis_url=hot.url,
        wakeups=hot.wakeups,
        queue=hot.queue,
        frames=hot.frames,
        channels=ways.channels,
        providers=ways.providers,
        router=ways.router,
        inbox=ways.inbox,
        world=ways.world,
        catalog=texts.catalog,
        packs=texts.packs,
        metrics=path.metrics,
        store=path.store,
        people=path.people,
        switches=path.switches,
        pipeline=path.pipeline,
        forecaster=Forecaster(path.store, path.stages.validator, path.stages.policy, ledger.clock),
        reviews=Reviews(ledger.database, ledger.signer.digest, ledger.clock),
        dead_letters=DeadLetters(ledger.database, ledger.signer.digest, ledger.clock),
        auditor=Auditor(ledger.database, Figures.load(policies_folder(ledger.settings))),
        sessions=Sessions(ledger.database, ledger.signer),
        attempts=Attempts(ledger.database, ledger.signer),
        editing=beside.desk.editing,
        transfer=beside.desk.transfer,
        follower=beside.desk.follower,
        webhooks=beside.webhooks,
        webhook_guard=beside.guard,
        webhook_endpoints=WebhookEndpoints(ledger.database, ledger.signer.webhook_secret, ledger.clock),
        readiness=beside.readiness,
    )


def _guard(settings: Settings) -> Guard:
    try:
        return Guard(settings.webhook_networks)
    except ValueError as error:
        raise CannotStart(f"GATEWAY_WEBHOOK_NETWORKS: {error}; write networks like 10.1.0.0/16") from error


_ALIVE = StatementTemplate(lambda _: "SELECT 1")


def _probe(database: Database, hot: RedisServices, catalog: Catalog) -> Probe:
    async def ledger() -> str:
        await database.query(_ALIVE.of)
        return ""

    async def migrations() -> str:
        [(revision,)] = await database.query(REVISION.of)
        return pending_migration_at(revision)

    async def answers() -> str:
        await hot.ping()
        return ""

    async def templates() -> str:
        return "" if catalog.live() else "there is no template"

    return Probe(
        {
            "ledger": ledger,
            "migrations": migrations,
            "redis": answers,
            "templates": templates,
        }
    )
