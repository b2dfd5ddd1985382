"""A template as its provider holds and approves it: what may be sent where free text is not permitted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from channels.base import TemplateStatus

_GAP = re.compile(r"\{\{\s*(\w+)\s*\}\}")

TemplateKey = tuple[str, str, str, str, str]  # (tenant, provider, template, version, locale)


@dataclass(frozen=True, slots=True)
class Slot:
    """A gap of the approved text. ``expression`` is in the template language: ``{{ amount | money: currency }}``.

    ``longest``: characters that the provider takes at most; 0: it has no limit.
    """

    name: str
    expression: str
    longest: int = 0


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

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with these values in its slots. Raises KeyError for a gap without a value."""
        return _GAP.sub(lambda gap: values[gap[1]], self.approved_text)
