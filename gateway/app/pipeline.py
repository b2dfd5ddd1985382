"""The path of a reminder on real parts: the doors to the ledger that it goes through, its stages, and its pipeline."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class PathParts:
    """The pipeline, and those of its parts that others use too."""

    metrics: Metrics
    store: Store
    people: BorrowerStore
    switches: Controls
    stages: Stages
    pace: RateLimiter
    pipeline: Pipeline


def open_path(
    stack: AsyncExitStack, ledger: LedgerParts, hot: RedisServices, ways: Providers, texts: LoadedTemplates
) -> PathParts:
    """The path, until the stack is left: then what has ended is written down."""
    database, digest, clock = ledger.database, ledger.signer.digest, ledger.clock
    metrics = _metrics(ledger.settings, ways, texts)
    releases = DeferralSpreader(ledger.settings.releases_per_second)
    store = Store(database, route_rules(digest), metrics.transaction, releases, texts.packs.contact_horizon)
    people = BorrowerStore(database, digest, clock)
    switches = Controls(database, clock)
    observer = PathObserver(metrics)
    stages = build_stages(ledger, ways, texts, store, observer)
    pace = RateLimiter(hot.buckets, ways.rates)
    resources = Resources(
        store=store,
        borrowers=people,
        replies=ReplyStore(database, digest, clock),
        controls=switches,
        catalog=texts.catalog,
        providers=ways.providers,
        rate_limiter=pace,
        trigger=hot.queue.enqueue,
        open_reference=ledger.signer.open_reference,
    )
    pipeline = Pipeline(stages, resources, observer, clock, ledger.settings.lease_seconds)
    stack.push_async_callback(pipeline.drain)
    return PathParts(metrics, store, people, switches, stages, pace, pipeline)


def _metrics(settings: Settings, ways: Providers, texts: LoadedTemplates) -> Metrics:
    return Metrics(
        channels=list(ways.channels),
        providers=[(each.channel, name) for name, each in ways.providers.items()],
        templates=[each.id for each in texts.catalog.live()],
        tenants=settings.metrics_tenants,
    )
