"""Errors that cross the domains."""

from __future__ import annotations

from collections.abc import Sequence


class UnknownTemplate(Exception):
    """There is no such template, or not that version of it. ``known``: the ids of those that the tenant may use."""

    def __init__(self, template: str, known: Sequence[str] = ()) -> None:
        super().__init__(template)
        self.known = known


class RenderFailed(Exception):
    """A template could not be rendered: names template, part, line and column, never a variable's value."""


class NotApprovable(Exception):
    """What waits for review can't be approved as it is; the message is the remedy."""


class WrongBorrower(Exception):
    """A review can't be decided about this borrower, or about none; the message is the remedy."""


class InvalidData(Exception):
    """The ledger can't store a value (too long, or characters that a text can't hold): trying again does not help."""


class Unavailable(Exception):
    """The ledger can't be written now: nothing was acknowledged, try again."""


class ReviewQueueFull(Unavailable):
    """Too many unverified reports wait for a person, or came within an hour: this one was not kept, try again."""
