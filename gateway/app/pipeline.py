"""Builds the pipeline and the receiver of callbacks, with their stages and the stores of the ledger that they use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from channels import registry
from gateway.app.providers import Providers
from gateway.app.redis import RedisServices
from gateway.app.settings import Settings
from gateway.app.stages import build_classifier, build_stages, normaliser
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.borrowers.provider_feedback import ProviderFeedback
from gateway.borrowers.store import BorrowerStore
from gateway.core.batcher import Batcher
from gateway.observability.metrics import Metrics
from gateway.observability.path_observer import PathObserver
from gateway.operations.controls import Controls
from gateway.operations.unverified_reports import UnverifiedReports
from gateway.pipeline import Pipeline, Resources, Stages
from gateway.queue.token_buckets import RateLimiter
from gateway.receiving import CallbackReceiver, ReceivingResources
from gateway.replies.store import ReplyStore
from gateway.stages.route_rules import route_rules
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.store import Store
from gateway.templates.message_forms import MessageForms

# The first trigger goes at once, and those of the next moment together: a job costs a worker about a millisecond
# whatever is in it (measured). Our choice.
_TRIGGER_MIN_INTERVAL_SECONDS = 0.02
_DRAIN_SECONDS = 10.0  # our choice: a container gets some half a minute to stop


@dataclass(frozen=True, slots=True)
class PathParts:
    """The pipeline and the receiver of callbacks, and those of their parts that other services use too."""

    metrics: Metrics
    store: Store
    borrowers: BorrowerStore
    controls: Controls
    stages: Stages
    rate_limiter: RateLimiter
    forms: MessageForms
    pipeline: Pipeline
    receiver: CallbackReceiver


def open_path(
    stack: AsyncExitStack, ledger: LedgerParts, redis: RedisServices, providers: Providers, templates: LoadedTemplates
) -> PathParts:
    """Build both. Closing the stack records the outcomes of the provider calls that have finished."""
    database, digest, clock = ledger.database, ledger.signer.digest, ledger.clock
    metrics = _metrics(ledger.settings, providers, templates)
    spreader = DeferralSpreader(ledger.settings.releases_per_second)
    store = Store(database, route_rules(digest), metrics.transaction, spreader, templates.packs.contact_horizon)
    borrowers = BorrowerStore(database, digest, clock)
    controls = Controls(database, clock)
    observer = PathObserver(metrics)
    stages = build_stages(ledger, providers, templates, store, observer)
    rate_limiter = RateLimiter(redis.buckets, providers.rates)
    feedback = ProviderFeedback(borrowers, observer, clock)
    triggers = _batched(redis.queue.enqueue)
    capabilities = {name: each.capability for name, each in providers.by_name.items()}
    profiles = registry.profiles(providers.channels)
    forms = MessageForms(database, profiles, templates.catalog, clock, capabilities)
    resources = Resources(store, controls, templates.catalog, forms, rate_limiter, feedback, triggers)
    pipeline = Pipeline(stages, resources, observer, clock, ledger.settings.lease_seconds)
    receiving = ReceivingResources(
        store=store,
        borrowers=borrowers,
        replies=ReplyStore(database, digest, clock),
        unverified=UnverifiedReports(database, digest, clock),
        forms=forms,
        providers=providers.by_name,
        classifier=build_classifier(ledger, templates),
        decide_receipt=observer.receipts(stages.recorder.after_receipt),
        feedback=feedback,
        triggers=triggers,
        normalise=normaliser(providers.channels),
        open_reference=ledger.signer.open_reference,
    )
    receiver = CallbackReceiver(receiving, observer, clock)
    stack.push_async_callback(_drain, pipeline, receiver, triggers)
    return PathParts(metrics, store, borrowers, controls, stages, rate_limiter, forms, pipeline, receiver)


def _batched(enqueue: Callable[[Sequence[str]], Awaitable[object]]) -> Batcher[str, None]:
    async def flush(ids: Sequence[str]) -> list[None]:
        await enqueue(ids)
        return [None] * len(ids)

    return Batcher(flush, min_interval=_TRIGGER_MIN_INTERVAL_SECONDS)


async def _drain(*parts: Pipeline | CallbackReceiver | Batcher[str, None]) -> None:
    with suppress(TimeoutError):  # a ledger that stays away is not waited for
        async with asyncio.timeout(_DRAIN_SECONDS):
            for each in parts:
                await each.drain()


def _metrics(settings: Settings, providers: Providers, templates: LoadedTemplates) -> Metrics:
    return Metrics(
        channels=list(providers.channels),
        providers=[(each.channel, name) for name, each in providers.by_name.items()],
        templates=[each.id for each in templates.catalog.live()],
        tenants=settings.metrics_tenants,
    )
