"""Encoding of notifications, holds, opt-outs and verdicts: the JSON that the ledger stores and the API answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.core.facts import ChosenPreferences, DeclaredPreferences, Hold, OptOut
from gateway.core.notifications import Borrower, Case, Category, Notification, Step
from gateway.core.verdicts import Verdict

_decoder_hold = msgspec.json.Decoder(list[Hold])
_decoder_chosen = msgspec.json.Decoder(ChosenPreferences)
_decoder_stated = msgspec.json.Decoder(DeclaredPreferences)
_encoder = msgspec.json.Encoder()


# Sources of opt-outs that START revokes: the borrower's own, here or at the provider; never a lender's record.
REPLY = "reply"
ONE_CLICK = "one_click"  # the link that declines messages
OWN_PAGE = "own_page"  # the pages behind a message's link
_OWN_WORDS = (REPLY, "provider:", ONE_CLICK, OWN_PAGE)


class StoredOptOut(msgspec.Struct, frozen=True):
    """An opt-out with what identifies and proves it."""

    id: str
    opt_out: OptOut
    source: str
    evidence: str = ""  # where the proof is kept

    def definite(self) -> StoredOptOut:
        """The same opt-out, confirmed: it no longer waits for a person to read the reply."""
        return StoredOptOut(self.id, replace(self.opt_out, provisional=False), self.source, self.evidence)

    @property
    def own_words(self) -> bool:
        """Whether the borrower said it, here or at the provider; False: the lender recorded it."""
        return self.source.startswith(_OWN_WORDS)

    def of(self, channel: str | None, address: str | None) -> bool:
        """Whether this is about exactly that address, or that channel, in whatever category."""
        if address is not None:
            return self.opt_out.address == address
        return (self.opt_out.channel, self.opt_out.address) == (channel, None)


class _Body(msgspec.Struct, frozen=True):
    """The part of a notification that has no column of its own."""

    borrower: Borrower
    case: Case
    variables: dict[str, Any]
    route: tuple[Step, ...]
    send_at: datetime | None
    metadata: dict[str, Any]
    must_arrive: bool = False


_decoder_body = msgspec.json.Decoder(_Body)
_decoder_opt_outs = msgspec.json.Decoder(list[StoredOptOut])


def instant(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with a Z."""
    return None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def body_of(notification: Notification) -> str:
    """The JSON for the ``body`` column."""
    return _encoder.encode(
        _Body(
            notification.borrower,
            notification.case,
            dict(notification.variables),
            notification.route,
            notification.send_at,
            dict(notification.metadata),
            notification.must_arrive,
        )
    ).decode()


def notification_from(row: Any) -> Notification:
    """A ledger row (columns of ``notifications``) back as a value."""
    body = _decoder_body.decode(row.body)
    return Notification(
        id=row.id,
        tenant=row.tenant,
        idempotency_key=row.idempotency_key,
        dedup_key=row.dedup_key,
        borrower=body.borrower,
        case=body.case,
        template=row.template,
        template_version=row.template_version,
        variables=body.variables,
        route=body.route,
        category=Category(row.category),
        accepted_at=row.accepted_at,
        send_at=body.send_at,
        expires_at=row.expires_at,
        metadata=body.metadata,
        must_arrive=body.must_arrive,
    )


def stated_by(borrower: Borrower) -> str:
    """A request's declared time zones and contact windows, as JSON for the borrower's row."""
    return encode(DeclaredPreferences(borrower.time_zones, borrower.windows))


def stated_from(text: str) -> DeclaredPreferences:
    return _decoder_stated.decode(text)


def chosen_from(text: str) -> ChosenPreferences:
    return _decoder_chosen.decode(text)


def holds_from(text: str) -> list[Hold]:
    return _decoder_hold.decode(text)


def channel_consents_from(text: str) -> frozenset[tuple[str, Category]]:
    """Words such as ``whatsapp:service``."""
    pairs = (each.rpartition(":") for each in text.split())
    return frozenset((channel, Category(category)) for channel, _, category in pairs)


def channel_consent(channel: str, category: Category) -> str:
    """The word for it."""
    return f"{channel}:{category}"


def opt_outs_from(text: str) -> list[StoredOptOut]:
    return _decoder_opt_outs.decode(text)


def encode(value: Any) -> str:
    """Any of our values as JSON: dataclasses, enums, dates, durations."""
    return _encoder.encode(value).decode()


def verdict_view(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the API answers it; see POST /v1/decisions."""
    return {
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "until": instant(verdict.until),
        "valid_until": instant(verdict.valid_until),
        "rules": [
            {
                "rule": rule.rule,
                "pack": rule.pack,
                "version": rule.version,
                "authority": rule.authority,
                "verdict": rule.verdict,
                "reason": rule.reason,
                "until": instant(rule.until),
                "detail": rule.detail,
            }
            for rule in verdict.rules
        ],
        "time_zones": list(verdict.time_zones),
        "tzdata": verdict.tzdata,
        "packs": [{"name": name, "version": version, "sha256": sha} for name, version, sha in verdict.packs],
    }


def fingerprint(raw: Mapping[str, Any]) -> str:
    """SHA-256 of a request body, independent of the order of its members."""
    return hashlib.sha256(msgspec.json.encode(raw, order="sorted")).hexdigest()
