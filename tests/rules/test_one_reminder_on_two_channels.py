"""One reminder that goes on from one channel to another of the same person: what the packs count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.core.facts import Contact, Facts
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import VerdictKind
from gateway.policy import decide
from tests.support.rules.made_packs import MARK, cap, packs
from tests.support.rules.policy_cases import TAIPEI, at, notification

NOW = at("2026-11-25 15:00", TAIPEI)
NUMBER, MAILBOX = "digest of the number", "digest of the mailbox"
DAY = "calendar_day"

# The pack's rule; the channel and address of the second step, after an SMS to NUMBER an hour ago; the reason to wait.
TABLE: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("a cap of the borrower counts both", {"caps": [cap("borrower", DAY, 1)]}, "email", MAILBOX, "cap_borrower"),
    ("a cap of the case counts each contact", {"caps": [cap("case", DAY, 1)]}, "whatsapp", NUMBER, "cap_case"),
    ("a cap of the address counts the number on both channels", {"caps": [cap("address", DAY, 1)]}, "whatsapp", NUMBER,
     "cap_address"),
    ("a cap of the address doesn't count another address", {"caps": [cap("address", DAY, 1)]}, "email", MAILBOX, ""),
    ("a cap of the channel doesn't count another channel", {"caps": [cap("channel", DAY, 1)]}, "whatsapp", NUMBER, ""),
    ("a cap of SMS doesn't count WhatsApp", {"caps": [cap("borrower", DAY, 1, channel="sms")]}, "whatsapp", NUMBER, ""),
    ("the gap is between reminders, not within one", {"min_gap": {"value_minutes": 1440, "mark": MARK}}, "whatsapp",
     NUMBER, ""),
    ("a channel that is not counted is not capped", {
        "caps": [cap("borrower", DAY, 1)], "channels_without_caps": {"value": ["inapp"], "mark": MARK}
    }, "inapp", "B-1", ""),
]  # fmt: skip


@pytest.mark.parametrize(("what", "rules", "channel", "address", "waits"), TABLE, ids=[row[0] for row in TABLE])
def test_the_second_step_counts_as_the_pack_says(
    what: str, rules: dict[str, Any], channel: str, address: str, waits: str
) -> None:
    """The first step was a contact; whether the second may follow is the pack's figure, by its scope."""
    made = notification("zz", TAIPEI)
    first = Contact(NOW - timedelta(hours=1), "sms", made.case.id, NUMBER, made.id)
    verdict = decide(made, channel, Facts(contacts=(first,)), packs(**rules), NOW, address_digest=address)
    if waits:
        assert (verdict.kind, verdict.reason) == (VerdictKind.DEFER, PolicyReason(waits))
    else:
        assert verdict.kind is VerdictKind.SEND, what
