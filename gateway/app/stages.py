"""The decisions of the path, made from the packs, the templates and the providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from channels.base import Channel
from gateway import policy
from gateway.app.providers import SIMULATED_SECONDS, Providers
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.core.model import Facts, Notification, Verdict
from gateway.core.ports import Decide
from gateway.pipeline import Stages
from gateway.stages.accept import RequestValidator
from gateway.stages.classify_reply import ReplyClassifier
from gateway.stages.reconcile import OutcomeReconciler
from gateway.stages.schedule import RetrySchedule
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder
from gateway.storage.store import Store


class ChannelAddresses:
    """The channels' address rules as accepting sees them."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels

    def normalise(self, channel: str, address: str) -> str:
        return self._channels[channel].normalise(address)


def build_stages(ledger: LedgerParts, ways: Providers, texts: LoadedTemplates, store: Store) -> Stages:
    """Every decision of the path. Only enquiries ask ``store``: what came in about a message, and whose it is."""
    settings, signer, clock = ledger.settings, ledger.signer, ledger.clock
    decide = _decide(ways, texts.packs)
    sender = Sender(ways.providers, signer.reference, settings.effective_public_url, clock, signer.unsubscribe_token)
    capabilities = {name: each.capability for name, each in ways.providers.items()}
    settler = OutcomeRecorder(_schedule(settings, simulated=ways.world is not None), capabilities)
    return Stages(
        acceptor=RequestValidator(texts.catalog, ChannelAddresses(ways.channels), decide, signer.digest),
        templates=texts.catalog,
        decide=decide,
        chooser=ways.chooser,
        sender=sender,
        enquirer=OutcomeReconciler(store, ways.providers, texts.catalog, sender, settler, clock),
        settler=settler,
        listener=ReplyClassifier(
            texts.words.understand,
            texts.words.answer,
            lambda jurisdiction: [name for name, _, _ in texts.packs.in_force(jurisdiction, clock()).packs],
            {"lender": settings.lender_name, "phone": settings.lender_phone, "help_url": settings.lender_help_url},
        ),
    )


def _decide(ways: Providers, packs: policy.Packs) -> Decide:
    """The contact policy under these packs, for what the channels' providers can carry."""
    capable = {channel: _categories(ways, channel) for channel in ways.channels}

    def decide(
        notification: Notification,
        channel: str,
        facts: Facts,
        now: datetime,
        *,
        address_digest: str,
        text: str | None = None,
        approved: str = "",
        pack_names: Sequence[str] = (),
    ) -> Verdict:
        return policy.decide(
            notification,
            channel,
            facts,
            packs,
            now,
            capability_categories=capable[channel],
            text=text,
            address_digest=address_digest,
            approved=approved,
            pack_names=pack_names,
        )

    return decide


def _categories(ways: Providers, channel: str) -> frozenset[str]:
    """What any of the channel's providers may carry."""
    providers = (each for each in ways.providers.values() if each.channel == channel)
    return frozenset(category for each in providers for category in each.capability.categories)


def _schedule(settings: Settings, *, simulated: bool) -> RetrySchedule:
    return RetrySchedule(
        receipt_wait=timedelta(hours=settings.receipt_hours),
        unknown_grace=timedelta(seconds=SIMULATED_SECONDS if simulated else settings.unknown_grace_seconds),
        max_attempts=settings.max_attempts,
        time_scale=settings.time_scale,
    )
