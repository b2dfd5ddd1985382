"""What the packs say of a text by itself, before there is anybody to send it to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gateway.core.facts import Facts
from gateway.core.notifications import Borrower, Case, Category, Notification, Step
from gateway.core.reasons import PolicyReason
from gateway.policy.engine import decide
from gateway.policy.packs import Packs

_ABOUT_TEXT = (PolicyReason.OPT_OUT_TEXT_MISSING, PolicyReason.OPT_OUT_TEXT_FORBIDDEN)
_JURISDICTIONS = {"gb": "uk"}  # where a locale's country has another name in the packs


def refuses_text(packs: Packs, now: datetime) -> Callable[[str, str, str, str], str]:
    """(locale, category, channel, text) → why the packs of the locale's country refuse the text, "" where they don't.

    Asked in the same way as when a request is accepted.
    """

    def refuses(locale: str, category: str, channel: str, text: str) -> str:
        country = locale.partition("-")[2].lower()
        somebody = Notification(
            id="lint",
            tenant="",
            idempotency_key="",
            dedup_key="",
            borrower=Borrower("", "", locale, _JURISDICTIONS.get(country, country), ("UTC",), {}),
            case=Case("", "", now.date(), ""),
            template="",
            template_version="",
            variables={},
            route=(Step(channel),),
            category=Category(category),
            accepted_at=now,
        )
        verdict = decide(somebody, channel, Facts(), packs, now, text=text, address_digest="")
        return next((str(each.reason) for each in verdict.rules if each.reason in _ABOUT_TEXT), "")

    return refuses
