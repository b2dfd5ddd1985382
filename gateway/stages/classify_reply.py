"""Classify a reply: its intent, and what is answered. The words are data (gateway/replies/rules.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gateway.core.model import Borrower, Intent
from gateway.core.ports import RecordedReply
from gateway.replies.rules import ReplyLexicon


class ReplyClassifier:
    """Classifies replies by the words of all languages, under the packs of the borrower who wrote."""

    def __init__(
        self, words: ReplyLexicon, packs_of: Callable[[str], Sequence[str]], lender: Mapping[str, str]
    ) -> None:
        self._words = words
        self._packs_of = packs_of
        self._lender = lender

    def classify(self, text: str, borrower: Borrower) -> Intent:
        """What the reply means."""
        return self._words.classify(text, self._packs_of(borrower.jurisdiction))

    def answer(self, taken: Sequence[RecordedReply]) -> str:
        """What is sent back, "" for nothing: at most one message for one reply, and none for its repetition.

        A stop is confirmed once: who says it again is stopped already, and has been told.
        """
        for each in taken:
            if not each.new or (each.intent is Intent.STOP and not each.stopped):
                continue
            packs = self._packs_of(each.borrower.jurisdiction)
            text = self._words.answer(each.intent, each.borrower.locale, packs)
            if text:
                return text.format(**self._lender)
        return ""
