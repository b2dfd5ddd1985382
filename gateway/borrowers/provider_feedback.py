"""Applies what a provider's refusal or receipt means for all later messages to a borrower or an address."""

from __future__ import annotations

from channels.base import ProviderReason, Receipt, ReceiptStatus
from gateway.borrowers.store import BorrowerStore
from gateway.core.clock import Clock
from gateway.observability.path_observer import PathObserver

_OPT_OUTS = (ReceiptStatus.OPTED_OUT, ReceiptStatus.COMPLAINED)
_FEEDBACK = (ProviderReason.OPTED_OUT_AT_PROVIDER, ProviderReason.INVALID_ADDRESS)


def feedback_of(receipt: Receipt) -> ProviderReason | None:
    """What a receipt means beyond its own message. None: nothing."""
    if receipt.status in _OPT_OUTS:
        return ProviderReason.OPTED_OUT_AT_PROVIDER
    return receipt.reason if receipt.reason in _FEEDBACK else None


class ProviderFeedback:
    """Records opt-outs and invalid addresses that providers report."""

    def __init__(self, borrowers: BorrowerStore, observer: PathObserver, clock: Clock) -> None:
        self._borrowers = borrowers
        self._observer = observer
        self._clock = clock

    async def apply(self, delivery_id: str, reason: ProviderReason | None, provider: str) -> None:
        """Opt out the borrower of this delivery, or suppress its address; other reasons change nothing.

        Raises Unavailable.
        """
        if reason is ProviderReason.OPTED_OUT_AT_PROVIDER:
            arrived = self._clock()
            await self._borrowers.opt_out_delivery(delivery_id, f"provider:{provider}")
            self._observer.opted_out("provider", self._clock() - arrived)
        elif reason is ProviderReason.INVALID_ADDRESS:
            await self._borrowers.suppress_address(delivery_id, reason)
