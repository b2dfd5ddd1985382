"""Classify a borrower's reply, and choose the answer. The rules are data; see gateway/replies/understanding.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from channels.base import Keyword
from gateway.core.deliveries import RecordedReply
from gateway.core.notifications import Borrower
from gateway.core.reasons import Intent
from gateway.core.understanding import Understanding


class ReplyClassifier:
    """Classifies replies under the policy packs of the borrower who wrote."""

    def __init__(
        self,
        understand: Callable[[str, Sequence[str], Intent | None], Understanding],
        answer: Callable[[Intent, str, str, Sequence[str]], str],
        packs_of: Callable[[str], Sequence[str]],
        lender: Mapping[str, str],
    ) -> None:
        """``answer`` gives the text for an intent, a locale and a jurisdiction, under packs."""
        self._understand = understand
        self._answer = answer
        self._packs_of = packs_of
        self._lender = lender

    def classify(self, text: str, borrower: Borrower, keyword: Keyword | None = None) -> Understanding:
        """What the reply says. ``keyword``, a provider's own classification, goes before the text's keywords."""
        known = Intent(keyword) if keyword is not None else None
        return self._understand(text, self._packs_of(borrower.jurisdiction), known)

    def answer(self, taken: Sequence[RecordedReply]) -> str:
        """What is sent back, "" for nothing: at most one message for one reply, and none for a repeated one.

        A stop is confirmed once: a second one adds no opt-out, and its sender has had the confirmation.
        """
        for each in taken:
            if not each.new or (each.intent is Intent.STOP and not each.stopped):
                continue
            packs = self._packs_of(each.borrower.jurisdiction)
            text = self._answer(each.intent, each.borrower.locale, each.borrower.jurisdiction, packs)
            if text:
                return text.format(**self._lender)
        return ""
