"""Classify a borrower's reply, and choose the answer. The vocabulary is data; see gateway/replies/rules.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from channels.base import Keyword
from gateway.core.deliveries import RecordedReply
from gateway.core.notifications import Borrower
from gateway.core.reasons import Intent


class ReplyClassifier:
    """Classifies replies under the policy packs of the borrower who wrote."""

    def __init__(
        self,
        classify: Callable[[str, Sequence[str]], Intent],
        answer: Callable[[Intent, str, Sequence[str]], str],
        packs_of: Callable[[str], Sequence[str]],
        lender: Mapping[str, str],
    ) -> None:
        """``classify`` gives the intent of a text, ``answer`` the text for an intent and locale, each under packs."""
        self._classify = classify
        self._answer = answer
        self._packs_of = packs_of
        self._lender = lender

    def classify(self, text: str, borrower: Borrower, keyword: Keyword | None = None) -> Intent:
        """The intent of the reply. ``keyword``, a provider's own classification, goes before the text."""
        if keyword is not None:
            return Intent(keyword)
        return self._classify(text, self._packs_of(borrower.jurisdiction))

    def answer(self, taken: Sequence[RecordedReply]) -> str:
        """What is sent back, "" for nothing: at most one message for one reply, and none for a repeated one.

        A stop is confirmed once: a second one adds no opt-out, and its sender has had the confirmation.
        """
        for each in taken:
            if not each.new or (each.intent is Intent.STOP and not each.stopped):
                continue
            packs = self._packs_of(each.borrower.jurisdiction)
            text = self._answer(each.intent, each.borrower.locale, packs)
            if text:
                return text.format(**self._lender)
        return ""
