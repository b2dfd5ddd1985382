"""Dry runs: the verdict that a request or a borrower would get, with nothing stored and nothing sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gateway.core.clock import Clock
from gateway.core.facts import Contact, Hold, OptOut
from gateway.core.notifications import Notification, Step, new_id
from gateway.core.requests import FieldError, NotificationRequest, RejectedRequest
from gateway.core.verdicts import Verdict
from gateway.stages.accept import RequestValidator
from gateway.stages.contact_policy import ContactPolicy
from gateway.stages.facts import facts_for, known_of
from gateway.storage.store import Store


class Forecaster:
    """The decisions of accepting, without its transaction."""

    def __init__(self, store: Store, validator: RequestValidator, decide: ContactPolicy, clock: Clock) -> None:
        self._store = store
        self._validator = validator
        self._decide = decide
        self._clock = clock

    async def decide(
        self,
        tenant: str,
        incoming: NotificationRequest,
        *,
        at: datetime | None = None,
        contacts: Sequence[Contact] | None = None,
        holds: Sequence[Hold] | None = None,
        opt_outs: Sequence[OptOut] | None = None,
        pack_names: Sequence[str] = (),
    ) -> Verdict | RejectedRequest:
        """The verdict that a request would get at ``at``. Facts and packs given replace our own."""
        now = at or self._clock()
        examined = self._validator.examine(tenant, incoming, now)
        if isinstance(examined, RejectedRequest):
            return examined
        [known] = await known_of([examined.notification], self._store.facts, self._validator.digests, now)
        facts = replace(
            known.facts,
            contacts=known.facts.contacts if contacts is None else tuple(contacts),
            holds=known.facts.holds if holds is None else tuple(holds),
            opt_outs=known.facts.opt_outs if opt_outs is None else tuple(opt_outs),
        )
        draft = self._validator.draft(examined, replace(known, facts=facts), now, pack_names)
        return draft.steps[-1].verdict

    def errors(self, tenant: str, incoming: NotificationRequest) -> Sequence[FieldError]:
        """Everything for which the request would be refused, besides its shape."""
        examined = self._validator.examine(tenant, incoming, self._clock())
        return examined.errors if isinstance(examined, RejectedRequest) else ()

    async def outlook(self, notification: Notification) -> dict[str, Verdict]:
        """What a reminder like this one would be told now, on each channel for which there is an address."""
        now = self._clock()
        route = tuple(Step(channel) for channel in sorted(notification.borrower.addresses))
        like = replace(notification, route=route, send_at=None, expires_at=None, id=new_id("ntf", now))
        [known] = await known_of([like], self._store.facts, self._validator.digests, now)
        facts = facts_for(like, known)
        return {
            step.channel: self._decide(like, step.channel, facts, now, address_digest=digest)
            for step, digest in zip(route, self._validator.digests(like), strict=True)
        }
