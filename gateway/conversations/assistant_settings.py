"""What a tenant sets for the assistant. Without an entry it is off."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.replies.rules import language_of

_PARTS = 1 << 32


class AssistantSettings(BaseModel):
    """``hours``: when people answer, by language (``en`` at least; ``zh-Hans``, ``zh-Hant``), as borrowers read it.

    ``holdout``: the share of cases from which the assistant stays away, so that the report can compare. ``case_url``:
    the case system's address for balances (ops/case-system.md); "": a person answers these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: Mapping[str, str] = Field(min_length=1)
    holdout: float = Field(0.1, ge=0, le=0.9)  # our choice: of 1,000 cases the comparison has 100
    case_url: str = ""

    @field_validator("hours")
    @classmethod
    def _has_english(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if "en" not in value or any(not 1 <= len(each) <= 80 for each in value.values()):
            raise ValueError("assistant: hours needs an entry for en, and each of at most 80 characters")
        return value

    def hours_for(self, locale: str) -> str:
        """The hours in the borrower's language; in English where there are none."""
        return self.hours.get(language_of(locale, self.hours), self.hours["en"])


def in_assistant_holdout(tenant: str, case_id: str, share: float) -> bool:
    """Whether a case is one of the share without the assistant: always the same ones, whatever else changes."""
    digest = hashlib.sha256("\x1f".join(("assistant", tenant, case_id)).encode()).digest()
    return int.from_bytes(digest[:4]) < share * _PARTS


WAITS = timedelta(seconds=1)  # between two looks for what the assistant may answer; our choice
