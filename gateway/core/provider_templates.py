"""A template as its provider holds and approves it: what may be sent where free text is not permitted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from channels.base import SlotRules, TemplateStatus

_GAP = re.compile(r"\{\{\s*(\w+)\s*\}\}")
# What providers take for a link: a scheme, www, or a host with a path. Our choice; a host alone may be a name.
_LINK = re.compile(r"https?://|\bwww\.|\b[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}/", re.IGNORECASE)

TemplateKey = tuple[str, str, str, str, str]  # (tenant, provider, template, version, locale)

# What a person may record of a provider's template; what the provider reports by itself is recorded as it comes.
STATUS_TRANSITIONS: Mapping[TemplateStatus, frozenset[TemplateStatus]] = {
    TemplateStatus.DRAFT: frozenset({TemplateStatus.SUBMITTED}),
    TemplateStatus.SUBMITTED: frozenset({TemplateStatus.APPROVED, TemplateStatus.REJECTED}),
    TemplateStatus.APPROVED: frozenset(
        {TemplateStatus.PAUSED, TemplateStatus.DISABLED, TemplateStatus.RECATEGORISED, TemplateStatus.REJECTED}
    ),
    TemplateStatus.PAUSED: frozenset({TemplateStatus.APPROVED, TemplateStatus.DISABLED, TemplateStatus.REJECTED}),
    TemplateStatus.RECATEGORISED: frozenset(
        {TemplateStatus.APPROVED, TemplateStatus.DISABLED, TemplateStatus.REJECTED}
    ),
    TemplateStatus.REJECTED: frozenset({TemplateStatus.SUBMITTED}),  # changed there, and submitted again
    TemplateStatus.DISABLED: frozenset({TemplateStatus.APPROVED}),  # an appeal was granted
}
# States that may end without anything being changed here, so that a message may wait for it.
TRANSIENT_STATUSES = frozenset({TemplateStatus.SUBMITTED, TemplateStatus.PAUSED, TemplateStatus.RECATEGORISED})


class SlotIssue(StrEnum):
    """Why a provider would refuse a template's slots, or a value for one of them."""

    EMPTY = "empty"
    LINE_END = "line_end"
    SPACES = "spaces"
    TOO_LONG = "too_long"
    LINK = "link"
    ADJACENT = "adjacent"
    MISSING = "missing"  # a gap of the text without a slot
    UNUSED = "unused"  # a slot without a gap


@dataclass(frozen=True, slots=True)
class Slot:
    """A gap of the approved text. ``expression`` is in the template language: ``{{ amount | money: currency }}``.

    ``longest``: characters that the provider takes at most; 0: it has no limit.
    """

    name: str
    expression: str
    longest: int = 0

    def issue(self, value: str, rules: SlotRules) -> SlotIssue | None:
        """Why the provider would refuse this value. More than four spaces: Meta's limit, taken for all."""
        limits = [each for each in (self.longest, rules.longest) if each]
        if not value.strip():
            return SlotIssue.EMPTY
        if any(sign in value for sign in "\n\r\t"):
            return SlotIssue.LINE_END
        if "     " in value:
            return SlotIssue.SPACES
        if limits and len(value) > min(limits):
            return SlotIssue.TOO_LONG
        return SlotIssue.LINK if not rules.links and _LINK.search(value) else None


@dataclass(frozen=True, slots=True)
class ProviderTemplate:
    """One locale of one of our template versions, as the provider knows it.

    ``reference`` and ``language`` are the provider's; ``approved_text`` has ``{{ name }}`` for each slot, in order.
    ``ttl``: how long the provider lets a message wait, as set on its template; None: as long as it does.
    """

    key: TemplateKey
    reference: str
    language: str
    approved_text: str
    slots: tuple[Slot, ...]
    status: TemplateStatus
    ttl: timedelta | None = None
    reason: str = ""
    seen_at: datetime | None = None

    @property
    def provider(self) -> str:
        return self.key[1]

    @property
    def locale(self) -> str:
        return self.key[4]

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with these values in its slots. Raises KeyError for a gap without a value."""
        return _GAP.sub(lambda gap: values[gap[1]], self.approved_text)

    def issues(self) -> Sequence[tuple[SlotIssue, str]]:
        """What is wrong with the slots whatever their values, each with the name of the slot."""
        found = list(_GAP.finditer(self.approved_text))
        gaps, slots = [each[1] for each in found], [each.name for each in self.slots]
        adjacent = [
            (SlotIssue.ADJACENT, later[1])
            for earlier, later in itertools.pairwise(found)
            if not self.approved_text[earlier.end() : later.start()].strip()
        ]
        missing = [(SlotIssue.MISSING, each) for each in dict.fromkeys(gaps) if each not in slots]
        unused = [(SlotIssue.UNUSED, each) for at, each in enumerate(slots) if each not in gaps or each in slots[:at]]
        return [*missing, *unused, *adjacent]
