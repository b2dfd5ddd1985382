"""The decisions of the path, made from the packs, the templates and the providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from channels.base import Channel
from gateway.app.providers import SIMULATED_SETTLE_SECONDS, Providers
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.core.requests import TemplateInfo
from gateway.observability.path_observer import PathObserver
from gateway.pipeline import Stages
from gateway.stages.accept import RequestValidator
from gateway.stages.classify_reply import ReplyClassifier
from gateway.stages.contact_policy import ContactPolicy
from gateway.stages.reconcile import OutcomeReconciler
from gateway.stages.schedule import RetrySchedule
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder
from gateway.storage.store import Store
from gateway.templates import Catalog


def normaliser(channels: Mapping[str, Channel]) -> Callable[[str, str], str]:
    """(channel, address) → canonical address. Raises KeyError for an unknown channel, ValueError with the remedy."""

    def normalise(channel: str, address: str) -> str:
        return channels[channel].normalise(address)

    return normalise


def build_stages(
    ledger: LedgerParts, ways: Providers, texts: LoadedTemplates, store: Store, observer: PathObserver
) -> Stages:
    """Every decision of the path. Only the reconciler asks ``store``: what came in about a message, and whose it is."""
    settings, signer, clock = ledger.settings, ledger.signer, ledger.clock
    decide = ContactPolicy(texts.packs, {channel: _categories(ways, channel) for channel in ways.channels})
    sender = Sender(
        ways.providers,
        signer.reference,
        settings.effective_public_url,
        clock,
        signer.unsubscribe_token,
        observer,
    )
    capabilities = {name: each.capability for name, each in ways.providers.items()}
    recorder = OutcomeRecorder(_schedule(settings, simulated=ways.world is not None), capabilities)
    return Stages(
        validator=RequestValidator(
            resolve=template_resolver(texts.catalog),
            wrong_variables=texts.catalog.wrong_variables,
            render=texts.catalog.render,
            normalise=normaliser(ways.channels),
            decide=decide,
            digest=signer.digest,
        ),
        policy=decide,
        router=ways.router,
        sender=sender,
        reconciler=OutcomeReconciler(
            ways.providers,
            sender,
            recorder,
            clock,
            render=texts.catalog.render,
            find_owner=store.owner,
            find_parked=store.parked,
        ),
        recorder=recorder,
        classifier=ReplyClassifier(
            texts.words.classify,
            texts.words.answer,
            lambda jurisdiction: [name for name, _, _ in texts.packs.in_force(jurisdiction, clock()).packs],
            {"lender": settings.lender_name, "phone": settings.lender_phone, "help_url": settings.lender_help_url},
        ),
    )


def template_resolver(catalog: Catalog) -> Callable[[str, str, str | None, datetime], TemplateInfo]:
    """The catalog's ``resolve``, with the part of a version that a request is validated against."""

    def resolve(tenant: str, template_id: str, version: str | None, now: datetime) -> TemplateInfo:
        found = catalog.resolve(tenant, template_id, version, now)
        return TemplateInfo(found.version, found.category, found.must_arrive, found.channels)

    return resolve


def _categories(ways: Providers, channel: str) -> frozenset[str]:
    """What any of the channel's providers may carry."""
    providers = (each for each in ways.providers.values() if each.channel == channel)
    return frozenset(category for each in providers for category in each.capability.categories)


def _schedule(settings: Settings, *, simulated: bool) -> RetrySchedule:
    return RetrySchedule(
        receipt_wait=timedelta(hours=settings.receipt_hours),
        unknown_grace=timedelta(seconds=SIMULATED_SETTLE_SECONDS if simulated else settings.unknown_grace_seconds),
        max_attempts=settings.max_attempts,
        time_scale=settings.time_scale,
    )
