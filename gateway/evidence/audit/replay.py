"""Replays one borrower's events in order: which rule each contact broke, by what was known when it began.

A contact is "open" while its latest attempt is under way or has arrived, and "counts" until it is shown that none
reached the borrower: silence shows nothing. Order is the ledger's (sequence numbers are given out under the borrower's
lock), so "after the opt-out" means after it was committed, whatever the clocks say. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gateway.core.reasons import Violation
from gateway.evidence.audit.figures import Figures, RuleSection, closed_in, within_period, within_wish

# Hand-overs that a payment or another borrower's stop crosses may be under way for as long as a transaction may take
# (gateway/storage/database.py).
_CROSSING = timedelta(seconds=10)

_OPEN = frozenset({"sending", "sent", "unknown", "delivered"})
# Kinds of events that prove that an attempt did not reach the borrower, with the states that they lead to.
_PROOFS = frozenset({"attempt_failed", "resolved", "receipt"})
_FAILING = frozenset({"retrying", "failed", "undelivered"})
_DECIDED_BY_PERSON = frozenset({"approved", "redriven"})  # a person decided that it did not


@dataclass(frozen=True, slots=True)
class RuleBreach:
    """One contact that broke one rule; ``event`` is the sequence number of the event that shows it."""

    event: int
    kind: Violation
    tenant: str
    borrower_id: str
    notification_id: str
    delivery_id: str
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What is known of a delivery besides its events."""

    notification_id: str
    channel: str
    case_id: str
    address_digest: str
    approved: str
    category: str
    dedup_key: str
    body: Mapping[str, Any]  # as the ledger keeps it
    finished: Mapping[int, datetime]  # by attempt: when the provider had answered
    address_opted_out_at: datetime | None = None  # by whoever uses it, until the next instant or still
    address_opted_in_at: datetime | None = None


@dataclass(slots=True)
class _Contact:
    delivery_id: str
    sent: Sent
    at: datetime
    open: bool = True
    counts: bool = True
    closed_by: str = ""
    resent: int = 0
    arrived: set[int] = field(default_factory=set)  # attempts that the provider said were delivered


class Replay:
    """Audits the contacts of one borrower."""

    def __init__(
        self,
        figures: Figures,
        sent: Mapping[str, Sent],
        closed: Mapping[str, datetime],
        current: Callable[[str], str],
    ) -> None:
        """``sent`` are the borrower's deliveries by id, ``closed`` the closed cases with their instants.

        ``current`` gives the digest of an address in the version that those of ``sent`` have: events keep the one that
        they were written with.
        """
        self._current = current
        self._figures = figures
        self._sent = sent
        self._closed = closed
        self._known: dict[str, Any] = {
            "holds": "[]",
            "opt_outs": "[]",
            "consents": "",
            "channel_consents": "",
            "chosen": "{}",
        }
        self._contacts: dict[str, _Contact] = {}
        self.judged = 0

    def run(self, events: Iterable[Any], after: int) -> Iterator[RuleBreach]:
        """The breaches shown by events numbered above ``after``; earlier events only establish what was known."""
        for event in events:
            if event.subject.startswith("borrower:"):
                self._known.update(json.loads(event.detail).get("after") or {})
            elif event.delivery_id in self._sent:
                self.judged += event.kind == "attempt_started" and event.seq > after
                for kind, detail in self._violations(event):
                    if event.seq > after:
                        sent = self._sent[event.delivery_id]
                        yield RuleBreach(
                            event.seq,
                            kind,
                            event.tenant,
                            event.borrower_id,
                            sent.notification_id,
                            event.delivery_id,
                            event.at,
                            detail,
                        )

    def _violations(self, event: Any) -> list[tuple[Violation, str]]:
        if event.kind == "attempt_started":
            return self._attempt_violations(event)
        contact = self._contacts.get(event.delivery_id)
        if contact is None:
            return []
        found = self._receipt_violations(contact, event) if event.kind in ("receipt", "ignored") else []
        if event.state in _OPEN:
            contact.open = contact.counts = True
        elif contact.open and event.state != "review":
            contact.open, contact.closed_by = False, event.kind
            contact.resent += event.kind == "resent"
        if event.kind in _DECIDED_BY_PERSON or (
            event.kind in _PROOFS and event.state in _FAILING and not contact.resent
        ):
            contact.counts = False
        return found

    def _receipt_violations(self, contact: _Contact, event: Any) -> list[tuple[Violation, str]]:
        said = json.loads(event.detail)
        if said.get("status") != "delivered" or not said.get("attempt") or contact.resent:
            return []
        before = len(contact.arrived)
        contact.arrived.add(said["attempt"])
        if before == 1 and len(contact.arrived) == 2:
            return [(Violation.REPEAT, f"attempts {sorted(contact.arrived)} were both delivered")]
        return []

    def _attempt_violations(self, event: Any) -> list[tuple[Violation, str]]:
        sent, earlier = self._sent[event.delivery_id], self._contacts.get(event.delivery_id)
        contact = _Contact(event.delivery_id, sent, event.at)
        found = list(self._repeats(contact, earlier))
        if earlier is not None:
            contact.resent, contact.arrived = earlier.resent, earlier.arrived
        sources = self._figures.at(sent.body["borrower"]["jurisdiction"], event.at)
        ended = sent.finished.get(json.loads(event.detail).get("attempt", 0), event.at)
        found += self._hours(sources, sent, [event.at, ended])
        found += self._frequency(sources, contact)
        found += self._consent_violations(sources, sent, event.at)
        self._contacts[event.delivery_id] = contact
        return found

    def _repeats(self, contact: _Contact, earlier: _Contact | None) -> Iterator[tuple[Violation, str]]:
        sent = contact.sent
        if earlier is not None and earlier.open:
            yield Violation.REPEAT, "begun while an earlier attempt may have arrived"
        elif earlier is not None and earlier.closed_by == "resent":
            if not sent.body.get("must_arrive") or earlier.resent > 1:
                yield Violation.REPEAT, f"resent {earlier.resent} times"
        elif earlier is not None and earlier.closed_by not in _PROOFS | _DECIDED_BY_PERSON:
            yield Violation.REPEAT, f"nothing but {earlier.closed_by!r} says that the earlier attempt did not arrive"
        for other in self._contacts.values():
            same = (other.sent.dedup_key, other.sent.channel) == (sent.dedup_key, sent.channel)
            if same and other.counts and other.sent.notification_id != sent.notification_id:
                yield Violation.REPEAT, f"{other.sent.notification_id} has the same meaning and went out"

    def _hours(
        self, sources: Sequence[RuleSection], sent: Sent, instants: Sequence[datetime]
    ) -> Iterator[tuple[Violation, str]]:
        borrower = sent.body["borrower"]
        chosen = json.loads(self._known["chosen"]).get("windows")
        wishes = [each for each in (borrower.get("windows"), chosen) if each]
        for source in sources:
            limited = wishes or any(sent.category in each["categories"] for each in source.windows().values())
            if not limited or sent.channel in source.named("channels_without_window"):
                continue
            zones = source.zones(borrower["time_zones"])
            if not zones and sent.approved != "unknown_zone":
                yield Violation.OUTSIDE_WINDOW, f"{source.pack}: no known time zone"
            if sent.approved == "no_common_window":
                continue
            closed = [text for at in instants for text in closed_in(source, sent.category, zones, at)]
            if not closed and wishes:
                local = [at.astimezone(zone) for at in instants for zone in zones]
                closed = [
                    f"the borrower's wish {wish}: {at:%H:%M}"
                    for wish in wishes
                    for at in local
                    if not within_wish(wish, at)
                ]
            if closed:
                yield Violation.OUTSIDE_WINDOW, closed[0]

    def _frequency(self, sources: Sequence[RuleSection], contact: _Contact) -> Iterator[tuple[Violation, str]]:
        sent = contact.sent
        before = [each for key, each in self._contacts.items() if each.counts and key != contact.delivery_id]
        for source in sources:
            quiet = source.named("channels_without_caps")
            if sent.channel in quiet:
                continue
            counted = [each for each in before if each.sent.channel not in quiet]
            for cap in source.sections.get("caps", ()):
                if cap.get("channel") in (None, sent.channel) and (text := _over(cap, source, contact, counted)):
                    yield Violation.OVER_CAP, f"{source.pack} {text}"
            gap = source.sections.get("min_gap")
            others = [each for each in counted if each.sent.notification_id != sent.notification_id]
            if gap and (text := _too_soon(gap, contact, others)):
                yield Violation.TOO_SOON, f"{source.pack} {text}"

    def _consent_violations(
        self, sources: Sequence[RuleSection], sent: Sent, at: datetime
    ) -> Iterator[tuple[Violation, str]]:
        for stored in json.loads(self._known["opt_outs"]):
            said = stored["opt_out"]
            # An address is the same on all channels of one identity: its digest says so.
            by_address = said["address"] is not None and sent.address_digest
            same = by_address and self._current(said["address"]) == sent.address_digest
            here = same if by_address else said["channel"] in (None, sent.channel)
            named = said["category"] in (None, sent.category)
            if named and here and not (said["provisional"] and sent.approved == "opted_out"):
                yield Violation.AFTER_OPT_OUT, f"opt-out {stored['id']} of {said['at']}"
        said_at, lifted_at = sent.address_opted_out_at, sent.address_opted_in_at
        if said_at is not None and at > said_at + _CROSSING and (lifted_at is None or at < lifted_at):
            yield Violation.AFTER_OPT_OUT, f"the address opted out at {said_at:%Y-%m-%dT%H:%M:%SZ}"
        for hold in json.loads(self._known["holds"]):
            for source in sources:
                rule = source.sections.get("holds", {}).get(hold["kind"])
                if rule and _held(rule, hold, sent, at):
                    yield Violation.DURING_HOLD, f"{hold['kind']} since {hold['start']}"
        for source in sources:
            if sent.category in source.named("consent") - set(self._known["consents"].split()):
                yield Violation.NO_CONSENT, f"{source.pack}: {sent.category} needs consent"
        wanted = sent.category in self._figures.consents.get(sent.channel, ()) or any(
            sent.channel in each["channels"] and sent.category in each["categories"]
            for source in sources
            for each in source.sections.get("channel_consent", ())
        )
        if wanted and f"{sent.channel}:{sent.category}" not in self._known["channel_consents"].split():
            yield Violation.NO_CONSENT, f"{sent.category} by {sent.channel} needs consent to the channel"
        closed_at = self._closed.get(sent.case_id)
        if closed_at is not None and at > closed_at + _CROSSING:
            yield Violation.AFTER_CLOSE, f"the case was closed at {closed_at:%Y-%m-%dT%H:%M:%SZ}"


def _over(cap: Mapping[str, Any], source: RuleSection, contact: _Contact, counted: Sequence[_Contact]) -> str:
    sent, scope = contact.sent, cap["scope"]
    mine = [
        each.at
        for each in counted
        if cap.get("channel") in (None, each.sent.channel)
        and (scope != "channel" or each.sent.channel == sent.channel)
        and (scope != "case" or each.sent.case_id == sent.case_id)
        and (scope != "address" or each.sent.address_digest == sent.address_digest)
    ]
    kind, period = cap["period_kind"], cap["period"]
    zones = source.zones(sent.body["borrower"]["time_zones"])
    number = 1 + max((within_period(kind, period, mine, contact.at, zone) for zone in zones), default=0)
    return f"{scope}: {number} of {cap['value']} in {period} {kind}" if number > cap["value"] else ""


def _too_soon(gap: Mapping[str, Any], contact: _Contact, others: Sequence[_Contact]) -> str:
    same_only = gap.get("per") == "channel"
    waits = [contact.at - each.at for each in others if not same_only or each.sent.channel == contact.sent.channel]
    shortest = min((each for each in waits if each >= timedelta(0)), default=None)
    if shortest is None or shortest >= timedelta(minutes=gap["value_minutes"]):
        return ""
    return f"gap: {shortest.total_seconds() / 60:.0f} of {gap['value_minutes']} minutes"


def _held(rule: Mapping[str, Any], hold: Mapping[str, Any], sent: Sent, at: datetime) -> bool:
    if sent.category in rule.get("exempt_categories", ()) or hold["case_id"] not in (None, sent.case_id):
        return False
    if rule["value"] == "review" and sent.approved == "hold":
        return False
    ends = hold["end"]
    return datetime.fromisoformat(hold["start"]) <= at and (ends is None or at < datetime.fromisoformat(ends))
