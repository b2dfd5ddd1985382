"""Builds the stages of the pipeline from the policy packs, the templates and the providers."""

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
    ledger: LedgerParts, providers: Providers, templates: LoadedTemplates, store: Store, observer: PathObserver
) -> Stages:
    """All stages. Only the reconciler reads ``store``: parked callbacks, and the tenant that owns a message."""
    settings, signer, clock = ledger.settings, ledger.signer, ledger.clock
    decide = ContactPolicy(
        templates.packs,
        {channel: _categories(providers, channel) for channel in providers.channels},
        {name: channel.profile.consent_categories for name, channel in providers.channels.items()},
    )
    sender = Sender(
        providers.by_name,
        signer.reference,
        settings.effective_public_url,
        clock,
        signer.message_token,
        observer,
    )
    capabilities = {name: each.capability for name, each in providers.by_name.items()}
    recorder = OutcomeRecorder(_schedule(settings, simulated=providers.simulators is not None), capabilities)
    return Stages(
        validator=_validator(ledger, providers, templates.catalog, decide),
        policy=decide,
        router=providers.router,
        sender=sender,
        reconciler=OutcomeReconciler(
            providers.by_name,
            sender,
            recorder,
            clock,
            render=templates.catalog.render,
            find_owner=store.owner,
            find_parked=store.parked,
        ),
        recorder=recorder,
    )


def _validator(ledger: LedgerParts, providers: Providers, catalog: Catalog, decide: ContactPolicy) -> RequestValidator:
    return RequestValidator(
        resolve=template_resolver(catalog),
        wrong_variables=catalog.wrong_variables,
        render=catalog.render,
        normalise=normaliser(providers.channels),
        decide=decide,
        digest=ledger.signer.digest,
        channels=providers.channels,
    )


def build_classifier(ledger: LedgerParts, templates: LoadedTemplates) -> ReplyClassifier:
    settings, clock, packs = ledger.settings, ledger.clock, templates.packs
    return ReplyClassifier(
        templates.reply_interpreter.understand,
        templates.reply_interpreter.answer,
        lambda jurisdiction: [name for name, _, _ in packs.in_force(jurisdiction, clock()).packs],
        {"lender": settings.lender_name, "phone": settings.lender_phone, "help_url": settings.lender_help_url},
    )


def template_resolver(catalog: Catalog) -> Callable[[str, str, str | None, datetime], TemplateInfo]:
    """``Catalog.resolve``, reduced to the properties of a version that a request is validated against."""

    def resolve(tenant: str, template_id: str, version: str | None, now: datetime) -> TemplateInfo:
        found = catalog.resolve(tenant, template_id, version, now)
        return TemplateInfo(found.version, found.category, found.must_arrive, found.channels)

    return resolve


def _categories(providers: Providers, channel: str) -> frozenset[str]:
    """The message categories that at least one provider of the channel supports."""
    of_channel = (each for each in providers.by_name.values() if each.channel == channel)
    return frozenset(category for each in of_channel for category in each.capability.categories)


def _schedule(settings: Settings, *, simulated: bool) -> RetrySchedule:
    return RetrySchedule(
        receipt_wait=timedelta(hours=settings.receipt_hours),
        unknown_grace=timedelta(seconds=SIMULATED_SETTLE_SECONDS if simulated else settings.unknown_grace_seconds),
        max_attempts=settings.max_attempts,
        time_scale=settings.time_scale,
    )
