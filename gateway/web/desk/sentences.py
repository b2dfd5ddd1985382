"""A borrower's events in plain sentences, in the reader's language and the borrower's local time.

The desk and the evidence share them. The words are in ``texts/``; must not know the ledger or HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import VerdictKind
from gateway.evidence.borrower_file import BorrowerFile, words_of
from gateway.storage.verdicts import whole_detail
from gateway.web.translations import PageTexts

# Steps of the machinery between two sentences that say something to a reader. The event list has them all.
_SILENT = frozenset(
    {
        *("accepted", "checked", "ignored", "looked_at_again", "lookup_failed", "lookup_put_off", "step_opened"),
        *("case_updated", "case.closed", "proposal_decided"),  # the one before it says who closed the case, and why
    }
)
_CAP_USE = re.compile(r"(?P<used>\d+) of (?P<most>\d+) in (?P<number>\d+) (?P<unit>\w+)")
_GOOD = frozenset({"delivered", "sent"})
_BAD = frozenset({"failed", "undelivered"})


@dataclass(frozen=True, slots=True)
class RuleSentence:
    """One rule that was asked: its name, what it said, its figure's authority and its use (``detail``)."""

    name: str
    said: str
    authority: str
    detail: str
    pack: str
    permits: bool


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened. ``words`` are those of a hand-over (text, subject, html, template), else None."""

    at: datetime
    utc: str
    local: str
    sentence: str
    tone: str  # good, bad, warn or "": the colour
    by: str
    case_id: str
    notification_id: str
    template: str
    words: Mapping[str, Any] | None
    words_missing: bool
    rules: tuple[RuleSentence, ...]


def timeline(t: PageTexts, record: BorrowerFile, who: Callable[[str], str]) -> list[TimelineEntry]:
    """All that happened with a borrower, oldest first."""
    said = {reply.id: reply for reply in record.replies}
    entries = []
    for event in record.own_events():
        detail = whole_detail(event["detail"], record.verdicts)
        if event["kind"] in _SILENT and "verdict" not in detail:
            continue
        words = None
        if event["kind"] == "attempt_started":
            found = record.words.get((event["delivery_id"], detail["attempt"]))
            words = None if found is None else words_of(found)
        elif detail.get("reply_id") in said:
            words = {"text": said[detail["reply_id"]].text}
        notification = record.notifications.get(event["subject"])
        entries.append(
            TimelineEntry(
                event["at"],
                t.when(event["at"]),
                t.local(event["at"], record.zone),
                sentence(t, event, detail, record),
                _tone(event),
                who(event["actor"]),
                notification.case.id if notification else "",
                notification.id if notification else "",
                _template(t, record, event, who) if event["kind"] == "attempt_started" else "",
                words,
                event["kind"] == "attempt_started" and words is None,
                rule_sentences(t, (detail.get("verdict") or {}).get("rules") or ()),
            )
        )
    return entries


def sentence(t: PageTexts, event: Mapping[str, Any], detail: Mapping[str, Any], record: BorrowerFile) -> str:
    """What one event says. An unknown kind is named as it is, so that nothing is left out."""
    channel = t.channel(record.channels.get(event["delivery_id"] or "") or detail.get("channel") or "")
    values = {
        "channel": channel,
        "why": reason_text(t, event["reason"]),
        "time": clock_time(event["at"], record.zone),
        "place": place(t, record.zone),
        "provider": detail.get("provider", ""),
        "attempt": detail.get("attempt", ""),
        "until": "",
        "note": next(filter(None, map(detail.get, ("why", "evidence", "closed", "duplicate_of"))), ""),
        "what": what_text(t, detail),
        "case": detail.get("case_id") or "",
        "closing": t.maybe(f"closing_{event['reason']}", event["reason"]),
    }
    if event["kind"] == "decided" or ("verdict" in detail and event["kind"] not in ("attempt_started",)):
        return _decided(t, detail["verdict"], values, record.zone)
    key = f"event_{event['kind'].replace('.', '_')}"
    if event["kind"] == "receipt":
        key = f"event_receipt_{detail.get('status', '')}"
    if values["note"] and f"{key}_because" in t.texts:
        key += "_because"
    if key not in t.texts:
        return t("event_other", what=event["kind"].replace("_", " "), **{k: values[k] for k in ("channel", "why")})
    said = t(key, **values)
    # Where nobody gave a reason, nothing stands in its parentheses.
    return said if values["note"] else said.replace(" ()", "").replace("（）", "")


def _decided(t: PageTexts, verdict: Mapping[str, Any], values: dict[str, Any], zone: str) -> str:
    """The decision of the contact policy, at acceptance or just before the hand-over."""
    kind = verdict["verdict"]
    values["why"] = reason_text(t, verdict["reason"])
    if kind == VerdictKind.DEFER and verdict.get("until"):
        values["until"] = t.local(datetime.fromisoformat(verdict["until"]), zone)
    return t(f"event_decided_{decision_key(kind, verdict['reason'])}", **values)


def decision_key(kind: str, reason: str) -> str:
    """The text of a decision. A hold may have no end: then its deferral's instant is when it is looked at again."""
    held = kind == VerdictKind.DEFER and reason == PolicyReason.HOLD
    return "held" if held else kind


def rule_sentences(t: PageTexts, rules: Any) -> tuple[RuleSentence, ...]:
    """The rules behind a decision (as ``codec.verdict_view`` has them), the ones that did not permit first."""
    found = [
        RuleSentence(
            rule_name(t, each["rule"]),
            reason_text(t, each["reason"]),
            authority_text(t, each["authority"]),
            cap_use(t, each["detail"]),
            f"{each['pack']} {each['version']}",
            each["verdict"] == VerdictKind.SEND,
        )
        for each in rules
    ]
    return tuple(sorted(found, key=lambda each: each.permits))


def rule_name(t: PageTexts, rule: str) -> str:
    """A rule in words: by its name, or by what a pack's own rules begin with (cap_borrower_sms, window_courtesy)."""
    parts = rule.split("_")
    for end in range(len(parts), 0, -1):
        key = "policy_rule_" + "_".join(parts[:end])
        if key in t.texts:
            return t(key)
    return rule.replace("_", " ")


def cap_use(t: PageTexts, detail: str) -> str:
    """The use of a cap in words: "1 of 3 in 1 calendar_day" is how the policy writes it (gateway/policy/caps.py)."""
    found = _CAP_USE.fullmatch(detail)
    if found is None:
        return detail
    key = f"unit_{found['unit']}" + ("_one" if found["number"] == "1" else "")
    unit = t.maybe(key, found["unit"].replace("_", " "))
    return t("cap_use", used=found["used"], most=found["most"], number=found["number"], unit=unit)


def authority_text(t: PageTexts, authority: str) -> str:
    kind, _, source = authority.partition(":")
    words = t.maybe(f"authority_{kind}", kind)
    named = t.maybe(f"authority_source_{source}", "")
    return t("authority_of", what=words, source=named) if named else words


def reason_text(t: PageTexts, reason: str) -> str:
    return t.maybe(f"reason_{reason}", reason.replace("_", " "))


def what_text(t: PageTexts, detail: Mapping[str, Any]) -> str:
    """What a change was about: a kind of hold, a category, an intent."""
    if "hold" in detail:
        return t.maybe(f"hold_{detail['hold']}", str(detail["hold"]).replace("_", " "))
    if "act" in detail:
        kind = str(detail.get("kind", ""))
        words = t.maybe(f"hold_{kind}", "") or t.maybe(f"intent_{kind}", "") or reason_text(t, kind)
        return t.maybe(f"act_{detail['act']}", "{kind}").format(kind=words)
    if "chosen" in detail:
        return _chosen(t, json.loads(detail["chosen"]))
    if detail.get("category"):
        category = t.maybe(f"category_{detail['category']}", str(detail["category"]))
        channel = detail.get("channel")
        return t("consent_of_channel", category=category, channel=t.channel(channel)) if channel else category
    return t.maybe(f"intent_{detail.get('intent', '')}", str(detail.get("intent", "")))


def _chosen(t: PageTexts, chosen: Mapping[str, Any]) -> str:
    """Hours and language, as a borrower chose them on their own page."""
    hours = ", ".join("–".join(each) for each in chosen["windows"]) or t("chosen_hours_any")
    return t("chosen", hours=hours, language=chosen["language"] or t("chosen_language_any"))


def clock_time(at: datetime, zone: str) -> str:
    """Hours and minutes by the borrower's clock."""
    return (at.astimezone(ZoneInfo(zone)) if zone else at).strftime("%H:%M")


def place(t: PageTexts, zone: str) -> str:
    """The city that names a time zone: "Taipei" for Asia/Taipei."""
    city = zone.rpartition("/")[2]
    return t.maybe(f"place_{city}", city.replace("_", " ")) if zone else "UTC"


def _tone(event: Mapping[str, Any]) -> str:
    if event["state"] in _GOOD:
        return "good"
    return "bad" if event["state"] in _BAD else "warn" if event["state"] in ("suppressed", "deferred", "review") else ""


def _template(t: PageTexts, record: BorrowerFile, event: Mapping[str, Any], who: Callable[[str], str]) -> str:
    notification = record.notifications[event["subject"]]
    version = record.versions.get((notification.template, notification.template_version))
    values = {"template": notification.template, "version": notification.template_version}
    if version is None or not version.approved_by:
        return t("template_shipped", **values)
    return t(
        "template_approved_by",
        submitter=who(version.submitted_by),
        approver=who(version.approved_by),
        **values,
    )
