"""Builds the pipeline, with its stages and the stores of the ledger that it uses."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from channels import registry
from gateway.app.providers import Providers
from gateway.app.redis import RedisServices
from gateway.app.settings import Settings
from gateway.app.stages import build_stages
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.borrowers.store import BorrowerStore
from gateway.observability.metrics import Metrics
from gateway.observability.path_observer import PathObserver
from gateway.operations.controls import Controls
from gateway.pipeline import Pipeline, Resources, Stages
from gateway.queue.token_buckets import RateLimiter
from gateway.replies.store import ReplyStore
from gateway.stages.route_rules import route_rules
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.store import Store
from gateway.templates.message_forms import MessageForms


@dataclass(frozen=True, slots=True)
class PathParts:
    """The pipeline, and those of its parts that other services use too."""

    metrics: Metrics
    store: Store
    borrowers: BorrowerStore
    controls: Controls
    stages: Stages
    rate_limiter: RateLimiter
    forms: MessageForms
    pipeline: Pipeline


def open_path(
    stack: AsyncExitStack, ledger: LedgerParts, redis: RedisServices, providers: Providers, templates: LoadedTemplates
) -> PathParts:
    """Build the pipeline. Closing the stack records the outcomes of the provider calls that have finished."""
    database, digest, clock = ledger.database, ledger.signer.digest, ledger.clock
    metrics = _metrics(ledger.settings, providers, templates)
    spreader = DeferralSpreader(ledger.settings.releases_per_second)
    store = Store(database, route_rules(digest), metrics.transaction, spreader, templates.packs.contact_horizon)
    borrowers = BorrowerStore(database, digest, clock)
    controls = Controls(database, clock)
    observer = PathObserver(metrics)
    stages = build_stages(ledger, providers, templates, store, observer)
    rate_limiter = RateLimiter(redis.buckets, providers.rates)
    forms = MessageForms(database, registry.profiles(providers.channels), templates.catalog, digest, clock)
    resources = Resources(
        store=store,
        borrowers=borrowers,
        replies=ReplyStore(database, digest, clock),
        controls=controls,
        catalog=templates.catalog,
        forms=forms,
        providers=providers.by_name,
        rate_limiter=rate_limiter,
        trigger=redis.queue.enqueue,
        open_reference=ledger.signer.open_reference,
    )
    pipeline = Pipeline(stages, resources, observer, clock, ledger.settings.lease_seconds)
    stack.push_async_callback(pipeline.drain)
    return PathParts(metrics, store, borrowers, controls, stages, rate_limiter, forms, pipeline)


def _metrics(settings: Settings, providers: Providers, templates: LoadedTemplates) -> Metrics:
    return Metrics(
        channels=list(providers.channels),
        providers=[(each.channel, name) for name, each in providers.by_name.items()],
        templates=[each.id for each in templates.catalog.live()],
        tenants=settings.metrics_tenants,
    )
