"""The decisions of the path, made from the packs, the templates and the providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from channels.base import Channel, Provider
from gateway import policy
from gateway.catalog import Catalog
from gateway.ledger.store import Store
from gateway.model import Facts, Notification, Verdict
from gateway.pipeline import Stages
from gateway.ports import Clock
from gateway.settings import Settings
from gateway.signing import Signer
from gateway.stages.accept import Acceptor
from gateway.stages.choose import Chooser
from gateway.stages.enquire import Enquirer
from gateway.stages.listen import Listener
from gateway.stages.schedule import Schedule
from gateway.stages.send import Sender
from gateway.stages.settle import Settler
from gateway.wiring.providers import SIMULATED_SECONDS


class ChannelAddresses:
    """The channels' address rules as accepting sees them."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels

    def normalise(self, channel: str, address: str) -> str:
        return self._channels[channel].normalise(address)


def build_stages(
    settings: Settings,
    clock: Clock,
    signer: Signer,
    channels: Mapping[str, Channel],
    providers: Mapping[str, Provider],
    chooser: Chooser,
    templates: Catalog,
    packs: policy.Packs,
    words: policy.Words,
    store: Store,
    simulated: bool,
) -> Stages:
    capable = {
        channel: frozenset(
            category
            for provider in providers.values()
            if provider.channel == channel
            for category in provider.capability.categories
        )
        for channel in channels
    }

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

    schedule = Schedule(
        receipt_wait=timedelta(hours=settings.receipt_hours),
        unknown_grace=timedelta(seconds=SIMULATED_SECONDS if simulated else settings.unknown_grace_seconds),
        max_attempts=settings.max_attempts,
        time_scale=settings.time_scale,
    )
    sender = Sender(providers, signer.reference, settings.effective_public_url, clock, signer.unsubscribe_token)
    settler = Settler(schedule, {name: each.capability for name, each in providers.items()})
    return Stages(
        acceptor=Acceptor(templates, ChannelAddresses(channels), decide, signer.digest),
        templates=templates,
        decide=decide,
        chooser=chooser,
        sender=sender,
        enquirer=Enquirer(store, providers, templates, sender, settler, clock),
        settler=settler,
        listener=Listener(
            words,
            lambda jurisdiction: [name for name, _, _ in packs.in_force(jurisdiction, clock()).packs],
            {"lender": settings.lender_name, "phone": settings.lender_phone, "help_url": settings.lender_help_url},
        ),
    )
