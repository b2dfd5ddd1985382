"""The composition root: builds every service in the order of their dependencies, and closes them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from channels import registry
from gateway.app.conversations import ConversationServices, build_conversations
from gateway.app.embedded.errors import CannotStart
from gateway.app.journeys import JourneyServices, build_journeys
from gateway.app.pipeline import PathParts, open_path
from gateway.app.providers import Providers, open_providers
from gateway.app.redis import RedisServices, open_redis
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts, open_ledger
from gateway.app.template_services import TemplateServices, build_template_services
from gateway.app.templates import LoadedTemplates, load_templates, policies_folder
from gateway.core.clock import Clock
from gateway.dry_run import Forecaster
from gateway.evidence.audit.auditor import Auditor
from gateway.evidence.audit.figures import Figures
from gateway.observability.readiness import Probe
from gateway.operations.dead_letters import DeadLetters
from gateway.operations.reviews import Reviews
from gateway.storage.database import Database
from gateway.storage.statements import StatementTemplate
from gateway.storage.upgrade.digest_key import has_digest_keys
from gateway.storage.upgrade.migrate import REVISION, pending_migration, pending_migration_at
from gateway.templates import Catalog
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.guard import Guard
from gateway.webhooks.outbox import WebhookOutbox
from gateway.webhooks.runner import Webhooks
from gateway.webhooks.sender import WebhookSender
from gateway.webhooks.tester import WebhookTester


@dataclass(frozen=True, slots=True)
class OperatorServices:
    """Services for operators: forecasts without sending, reviews, dead letters and the audit of what was sent."""

    forecaster: Forecaster
    reviews: Reviews
    dead_letters: DeadLetters
    auditor: Auditor


@dataclass(frozen=True, slots=True)
class WebhookServices:
    """Webhooks to the tenants' case systems. ``guard`` refuses addresses of networks that are not allowed."""

    guard: Guard
    endpoints: WebhookEndpoints
    runner: Webhooks
    tester: WebhookTester


@dataclass(frozen=True, slots=True)
class Gateway:
    """All services of one process, by group. Entry points take the groups that they use."""

    ledger: LedgerParts
    redis: RedisServices
    providers: Providers
    templates: LoadedTemplates
    path: PathParts
    editor: TemplateServices
    operations: OperatorServices
    webhooks: WebhookServices
    journeys: JourneyServices
    conversations: ConversationServices
    readiness: Probe


@asynccontextmanager
async def open_gateway(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """Open a gateway with its embedded parts. Raises CannotStart.

    ``clock`` replaces the clock that the settings name, for tests. Parts that were opened are closed in reverse
    order, also where a later part can't start.
    """
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings, clock=clock))
        if settings.database_url and (reason := await asyncio.to_thread(pending_migration, ledger.database.engine)):
            raise CannotStart(reason)
        if not await has_digest_keys(ledger.database, ledger.signer.key_checks(), ledger.signer.known_key_checks()):
            raise CannotStart(
                "GATEWAY_SECRET_KEY has not the keys of this ledger's digests: opt-outs and API keys would not be "
                "found. Give those keys back; to change keys, see Keys in ops/deploy/README.md"
            )
        redis = await open_redis(stack, ledger)
        providers = await open_providers(stack, ledger, redis.feed_notifier)
        templates = await load_templates(ledger, registry.profiles(providers.channels))
        path = open_path(stack, ledger, redis, providers, templates)
        editor = build_template_services(ledger, providers, templates, path)
        webhooks = _open_webhooks(stack, ledger, path)
        readiness = _probe(ledger.database, redis, templates.catalog)
        stack.push_async_callback(readiness.close)
        operations = _build_operator_services(ledger, path)
        journeys = build_journeys(ledger, templates, path)
        conversations = build_conversations(ledger, templates, path, journeys)
        yield Gateway(
            ledger, redis, providers, templates, path, editor, operations, webhooks, journeys, conversations, readiness
        )


def _build_operator_services(ledger: LedgerParts, path: PathParts) -> OperatorServices:
    digest, clock = ledger.signer.digest, ledger.clock
    return OperatorServices(
        Forecaster(path.store, path.stages.validator, path.stages.policy, clock),
        Reviews(ledger.database, digest, clock),
        DeadLetters(ledger.database, digest, clock),
        Auditor(ledger.database, Figures.load(policies_folder(ledger.settings), path.stages.policy.consents)),
    )


def _open_webhooks(stack: AsyncExitStack, ledger: LedgerParts, path: PathParts) -> WebhookServices:
    guard, secret = _guard(ledger.settings), ledger.signer.webhook_secret
    # Receivers compare a message's timestamp with their own clock, so a demonstration's shifted clock is not used.
    sender = WebhookSender(guard, secret, lambda: datetime.now(UTC))
    stack.push_async_callback(sender.close)
    outbox = WebhookOutbox(ledger.database)
    runner = Webhooks(outbox, sender, path.metrics, ledger.clock)
    stack.push_async_callback(runner.finish)
    endpoints = WebhookEndpoints(ledger.database, secret, ledger.clock, ledger.signer.digest_version)
    return WebhookServices(guard, endpoints, runner, WebhookTester(outbox, sender, ledger.clock))


def _guard(settings: Settings) -> Guard:
    try:
        return Guard(settings.webhook_networks)
    except ValueError as error:
        raise CannotStart(f"GATEWAY_WEBHOOK_NETWORKS: {error}; write networks like 10.1.0.0/16") from error


_ALIVE = StatementTemplate(lambda _: "SELECT 1")


def _probe(database: Database, redis: RedisServices, catalog: Catalog) -> Probe:
    async def ledger() -> str:
        await database.query(_ALIVE.of)
        return ""

    async def migrations() -> str:
        [(revision,)] = await database.query(REVISION.of)
        return pending_migration_at(revision)

    async def redis_answers() -> str:
        await redis.ping()
        return ""

    async def templates() -> str:
        return "" if catalog.live() else "there is no template"

    return Probe(
        {
            "ledger": ledger,
            "migrations": migrations,
            "redis": redis_answers,
            "templates": templates,
        }
    )
