"""What a message says: the rendered parts of its texts, and the provider's own template where one is needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class TemplateCall:
    """A message as its provider wants it where free text is not permitted: an approved template and its parameters.

    ``reference`` is the provider's name or id of the template, ``language`` its code there. ``parameters`` are name and
    value in the order of the template; a provider that numbers them ignores the names. ``ttl`` is how long the
    provider's template lets a message wait for delivery; None: as long as the provider does.
    """

    reference: str
    language: str
    parameters: tuple[tuple[str, str], ...] = ()
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A rendered message. A channel's parts fill the fields; those that it has no part for are empty.

    With ``template`` the provider renders: ``text`` is then what the template says with these parameters, for the
    ledger and for look-ups, and is not sent.
    """

    text: str
    subject: str = ""
    html: str = ""
    template: TemplateCall | None = None


def same_words(one: str, other: str) -> bool:
    """Whether two texts say the same: white space aside, which providers change."""
    return one.split() == other.split()
