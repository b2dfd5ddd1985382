"""Sends a test message: a rendered version, through the real provider, to an address of the editor's own.

A test is no contact: it makes no notification and no delivery, and counts for no cap. It is recorded in the template's
event chain before and after the call. The message is that of the preview, with a mark before its first line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from channels.base import Content, Message, Provider, SendFailure
from channels.base import ProviderReason as Reason
from channels.profile import ChannelProfile
from gateway.core.clock import Clock
from gateway.core.deliveries import ClaimedDelivery, Delivery
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.notifications import Borrower, Case, Category, Notification, Step, new_id
from gateway.core.security.message_links import MessageLinks
from gateway.core.states import State
from gateway.operations.controls import Controls
from gateway.queue.token_buckets import RateLimiter
from gateway.stages.route import ProviderRouter
from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.preview import Sample, rendered
from gateway.templates.versions.refusals import TestSendRefused
from gateway.templates.versions.versions_store import VersionStore

MARK = "[TEST] "
_MOST = 30  # per actor, template and hour; our choice: every locale and channel twice
_HOUR = timedelta(hours=1)
STARTED, ENDED = "template_test_started", "template_test_ended"


@dataclass(frozen=True, slots=True)
class TestSend:
    """The result of a test send. ``outcome``: accepted, or the provider's reason."""

    id: str
    channel: str
    provider: str
    outcome: str
    code: str
    content: Content


def marked(profile: ChannelProfile, content: Content) -> Content:
    """The message with the mark at its beginning: of the subject or title, where it has one, or of the text."""
    if profile.marked_field == "subject":
        return replace(content, subject=MARK + content.subject)
    return replace(content, text=MARK + content.text)


class TestSender:
    """Sends tests through the configured providers."""

    def __init__(
        self,
        versions: VersionStore,
        providers: Mapping[str, Provider],
        router: ProviderRouter,
        switches: Controls,
        pace: RateLimiter,
        normalise: Callable[[str, str], str],
        digest: Callable[[str, str, str], str],
        clock: Clock,
        links_of: Callable[[str, Category], MessageLinks],
    ) -> None:
        self._store = versions
        self._providers = providers
        self._chooser = router
        self._switches = switches
        self._pace = pace
        self._normalise = normalise
        self._digest = digest
        self._clock = clock
        self._links_of = links_of

    async def send(
        self,
        tenant: str,
        number: int,
        version: TemplateVersion,
        channel: str,
        sample: Sample,
        address: str,
        own: Collection[str],
        actor: str,
    ) -> TestSend:
        """Render and send one message. ``own`` are the caller's verified addresses.

        Raises: TestSendRefused, RenderFailed, Unavailable.
        """
        now = self._clock()
        address = self._own_address(channel, address, own)
        work = _work(tenant, version, channel, address, actor, now)
        # The links work and change nothing, since no delivery has this id.
        links = self._links_of(work.delivery.id, work.notification.category)
        content = marked(version.profiles[channel], rendered(version, channel, sample, links))
        await self._within_limit(tenant, version.id, actor, now)
        provider = await self._provider(work, now)
        detail = {
            "test": work.delivery.id,
            "version": version.version,
            "channel": channel,
            "locale": sample.locale,
            "provider": provider,
            "address": self._digest(tenant, channel, address),
        }
        await self._store.note((tenant, version.id, number), STARTED, actor, detail)
        outcome, code, message_id = await self._hand_over(provider, work, content)
        ended = {**detail, "outcome": outcome, "code": code, "provider_message_id": message_id}
        await self._store.note((tenant, version.id, number), ENDED, actor, ended)
        return TestSend(work.delivery.id, channel, provider, outcome, code, content)

    def _own_address(self, channel: str, address: str, own: Collection[str]) -> str:
        try:
            wanted = self._normalise(channel, address)
            allowed = {self._normalise(channel, each) for each in own}
        except KeyError:
            raise TestSendRefused("invalid_request", "there is no such channel") from None
        except ValueError as error:
            raise TestSendRefused("invalid_request", f"the address {error}") from None
        if wanted not in allowed:
            detail = "a test goes to your own verified address only, or to one that GATEWAY_TEST_ADDRESSES names"
            raise TestSendRefused("not_your_address", detail)
        return wanted

    async def _within_limit(self, tenant: str, template: str, actor: str, now: datetime) -> None:
        lately = await self._store.history(tenant, template, since=now - _HOUR)
        if sum(each.kind == STARTED and each.actor == actor for each in lately) >= _MOST:
            raise TestSendRefused(
                "too_many_tests", f"{_MOST} tests of one template in an hour are enough: wait a while"
            )

    async def _provider(self, work: ClaimedDelivery, now: datetime) -> str:
        switches = await self._switches.in_force(now)
        name = self._chooser.choose(work, switches, now)
        if name is None:
            raise TestSendRefused("no_provider", "no provider of this channel carries messages of this category")
        stopped = next((each for each in switches if each.stops(work.notification, work.delivery.channel, name)), None)
        if stopped is not None:
            raise TestSendRefused("paused", f"an operator has stopped this: {stopped.reason}")
        granted, wait = await self._pace.grant(name, 1)
        if not granted:
            raise TestSendRefused("no_provider", f"the provider is busy; try again in {wait:.0f} seconds")
        return name

    async def _hand_over(self, provider: str, work: ClaimedDelivery, content: Content) -> tuple[str, str, str]:
        message = Message(
            delivery_id=work.delivery.id,
            attempt=1,
            tenant=work.notification.tenant,
            borrower_id=work.notification.borrower.id,
            address=work.notification.borrower.addresses[work.delivery.channel],
            content=content,
            reference=work.delivery.id,
            callback_url="",  # the receipt of a test is ignored
            valid_until=None,
            category=work.notification.category,
        )
        try:
            accepted = await self._providers[provider].send(message)
        except SendFailure as failure:
            return failure.reason, failure.code, ""
        except Exception as error:
            return Reason.SERVER_ERROR, type(error).__name__, ""
        return Reason.ACCEPTED, "", accepted.provider_message_id


def _work(
    tenant: str, version: TemplateVersion, channel: str, address: str, actor: str, now: datetime
) -> ClaimedDelivery:
    """A delivery for the provider router; the message belongs to no notification."""
    identifier = new_id("tst", now)
    borrower_id = address if version.profiles[channel].addresses_borrower else actor
    notification = Notification(
        id=identifier,
        tenant=tenant,
        idempotency_key=identifier,
        dedup_key=identifier,
        borrower=Borrower(borrower_id, "", "", "", (), {channel: address}),
        case=Case("", "", now.date(), ""),
        template=version.id,
        template_version=version.version,
        variables={},
        route=(Step(channel),),
        category=Category(version.category),
        accepted_at=now,
    )
    delivery = Delivery(identifier, identifier, 0, channel, "", State.SENDING)
    return ClaimedDelivery(delivery, notification, BorrowerFacts(0, Facts()), State.SENDING, True)
