"""What the desk's pages show, in the reader's language and the borrower's local time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.core.clock import Clock
from gateway.core.codec import verdict_view
from gateway.core.notifications import Category
from gateway.core.reasons import HoldKind
from gateway.core.states import PENDING_STATES
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.dry_run import Forecaster
from gateway.evidence.borrower_file import BorrowerFile
from gateway.storage.reads import Filter, Reads
from gateway.web.desk.acts import CLOSINGS
from gateway.web.desk.evidence import actor_names
from gateway.web.desk.sentences import (
    RuleSentence,
    decision_key,
    place,
    reason_text,
    rule_sentences,
    timeline,
    what_text,
)
from gateway.web.translations import PageTexts

_MOST_PENDING = 50  # of a borrower's latest notifications, those that may still be cancelled; our choice


@dataclass(frozen=True, slots=True)
class ChannelOutlook:
    """What a reminder would be told now on one channel: ``sentence``, and the rules behind it with their use."""

    channel: str
    sentence: str
    tone: str
    rules: tuple[RuleSentence, ...]
    caps: tuple[RuleSentence, ...]


class DeskReads:
    """Reads a borrower's record for the desk. Raises Unavailable."""

    def __init__(self, reads: Reads, forecaster: Forecaster, channels: Sequence[str], clock: Clock) -> None:
        self._reads = reads
        self._forecaster = forecaster
        self._channels = channels
        self._clock = clock

    async def borrower(self, t: PageTexts, record: BorrowerFile) -> dict[str, Any]:
        """The values of the borrower's page."""
        tenant, identifier, zone = record.tenant, record.borrower_id, record.zone
        known = await self._reads.borrower(tenant, identifier)
        latest = await self._reads.latest(tenant, identifier)
        outlook = await self._forecaster.outlook(latest) if latest is not None and latest.borrower.addresses else {}
        recent = await self._reads.notifications(tenant, Filter(borrower_id=identifier), _MOST_PENDING)
        known = known or {"holds": [], "opt_outs": [], "consents": [], "channel_consents": []}
        return {
            "borrower_id": identifier,
            "name": record.name,
            "local_now": t.local(self._clock(), zone),
            "place": place(t, zone),
            "outlook": [_outlook(t, channel, verdict, zone) for channel, verdict in outlook.items()],
            "holds": [_hold(t, each, zone) for each in known["holds"]],
            "opt_outs": [_opt_out(t, each, zone) for each in known["opt_outs"]],
            "consents": _consents(t, known),
            "pending": [each for each in recent if each["state"] in PENDING_STATES],
            "cases": sorted({each["case_id"] for each in recent}),
            "entries": list(reversed(timeline(t, record, actor_names(t, record)))),
            "hold_kinds": [(str(kind), t(f"hold_{kind}")) for kind in HoldKind],
            "categories": [(str(each), t(f"category_{each}")) for each in Category],
            "channels": [(name, t.channel(name)) for name in self._channels],
            "closings": [(each, t(f"closing_{each}")) for each in CLOSINGS],
        }


def _outlook(t: PageTexts, channel: str, verdict: Verdict, zone: str) -> ChannelOutlook:
    rules = rule_sentences(t, verdict_view(verdict)["rules"])
    values = {"why": reason_text(t, verdict.reason), "until": t.local(verdict.until, zone) if verdict.until else ""}
    tone = {VerdictKind.SEND: "good", VerdictKind.SUPPRESS: "bad"}.get(verdict.kind, "warn")
    caps = tuple(rule for rule in rules if rule.detail)
    return ChannelOutlook(
        t.channel(channel),
        t(f"outlook_{decision_key(verdict.kind, verdict.reason)}", **values),
        tone,
        rules,
        caps,
    )


def _hold(t: PageTexts, hold: Mapping[str, Any], zone: str) -> dict[str, Any]:
    return {
        "kind": hold["kind"],
        "name": t(f"hold_{hold['kind']}"),
        "since": t.local(datetime.fromisoformat(hold["start"]), zone),
        "until": t.local(datetime.fromisoformat(hold["end"]), zone) if hold["end"] else "",
        "case_id": hold["case_id"],
    }


def _consents(t: PageTexts, known: Mapping[str, Any]) -> list[dict[str, str]]:
    """Consents to a category by every channel (``channel`` ""), then those by one channel alone."""
    given = [{"channel": "", "category": each} for each in known["consents"]] + known["channel_consents"]
    return [{**each, "name": what_text(t, each)} for each in given]


def _opt_out(t: PageTexts, opt_out: Mapping[str, Any], zone: str) -> dict[str, Any]:
    return {
        "id": opt_out["id"],
        "channel": t.channel(opt_out["channel"] or ""),
        "since": t.local(datetime.fromisoformat(opt_out["at"]), zone),
        "source": opt_out["source"],
        "provisional": opt_out["provisional"],
    }


def reviews_view(t: PageTexts, waiting: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Review items with their words. They wait at the lender, so their times are in UTC."""
    return [
        {
            **each,
            "why": t.maybe(f"intent_{each['reason']}", "") or reason_text(t, each["reason"]),
            "channel": t.channel(each["channel"]),
            "when": t.when(datetime.fromisoformat(each["since"])),
            "by": t.when(datetime.fromisoformat(each["review_by"])) if each["review_by"] else "",
        }
        for each in waiting
    ]
