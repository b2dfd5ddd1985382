"""The contact policy as the stages call it: the loaded packs, and what the channels' providers can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import policy
from gateway.core.facts import Facts
from gateway.core.notifications import Notification
from gateway.core.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class ContactPolicy:
    """Pure: the same notification, facts and instant give the same verdict.

    ``capabilities`` has the categories that any provider of a channel may carry, by channel; ``consents`` those
    that need the borrower's consent to the channel.
    """

    packs: policy.Packs
    capabilities: Mapping[str, frozenset[str]]
    consents: Mapping[str, frozenset[str]]

    def __call__(
        self,
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
        """The verdict on one contact. ``pack_names`` replace the packs of the borrower's jurisdiction."""
        return policy.decide(
            notification,
            channel,
            facts,
            self.packs,
            now,
            capability_categories=self.capabilities[channel],
            consent_categories=self.consents.get(channel, frozenset()),
            text=text,
            address_digest=address_digest,
            approved=approved,
            pack_names=pack_names,
        )
