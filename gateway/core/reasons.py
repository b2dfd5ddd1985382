"""Closed lists of reasons and intents. A word is an API field, a metric label and a runbook heading at once."""

from __future__ import annotations

from enum import StrEnum


class PolicyReason(StrEnum):
    """Why a contact was permitted, deferred, suppressed or sent to review."""

    PERMITTED = "permitted"
    SCHEDULED = "scheduled"
    OUTSIDE_WINDOW = "outside_window"
    HOLIDAY = "holiday"
    BORROWER_WISH = "borrower_wish"
    UNKNOWN_ZONE = "unknown_zone"
    NO_COMMON_WINDOW = "no_common_window"
    CAP_BORROWER = "cap_borrower"
    CAP_CASE = "cap_case"
    CAP_CHANNEL = "cap_channel"
    CAP_ADDRESS = "cap_address"
    MIN_GAP = "min_gap"
    HOLD = "hold"
    OPTED_OUT = "opted_out"
    ADDRESS_SUPPRESSED = "address_suppressed"
    ADDRESS_STALE = "address_stale"
    NO_CONSENT = "no_consent"
    THIRD_PARTY = "third_party"
    OPT_OUT_TEXT_MISSING = "opt_out_text_missing"
    OPT_OUT_TEXT_FORBIDDEN = "opt_out_text_forbidden"
    PROVIDER_INCAPABLE = "provider_incapable"
    CASE_CLOSED = "case_closed"
    DUPLICATE = "duplicate"
    EXPIRES_FIRST = "expires_first"


class EndReason(StrEnum):
    """Why a delivery moved, where neither the policy nor the provider said so."""

    CANCELLED_BY_CLIENT = "cancelled_by_client"
    RECEIPT_TIMEOUT = "receipt_timeout"
    NO_FAILURE_REPORTED = "no_failure_reported"
    RETRIES_EXHAUSTED = "retries_exhausted"
    EXPIRED = "expired"
    WORKER_LOST = "worker_lost"
    UNRESOLVED = "unresolved"
    NOT_AT_PROVIDER = "not_at_provider"
    NO_PROVIDER = "no_provider"
    RENDER_FAILED = "render_failed"
    GOAL_REACHED = "goal_reached"
    REFUSED_IN_REVIEW = "refused_in_review"
    REPLIED = "replied"
    SENT_AGAIN = "sent_again"  # its outcome is unknown, and a second request has no further effect at the provider
    SILENCE = "silence"  # the provider reports every delivery, and reported none
    UNPROVEN = "unproven"  # the provider reports nothing, so whether it arrived is not known
    TEMPLATE_UNAVAILABLE = "template_unavailable"  # no template of the provider's may be used for it now
    WINDOW_CLOSED = "window_closed"  # only free text could be sent, and the person has not written lately
    GIVEN_UP = "given_up"  # it failed, and an operator decided that it is not tried again
    RESTORED = "restored"  # the ledger was restored from a backup, and it may have been sent since


class UnverifiedReason(StrEnum):
    """Why a mail that came back waits for a person: it names no message by a reference that was signed here."""

    COMPLAINT = "unverified_complaint"
    BOUNCE = "unverified_bounce"


class Violation(StrEnum):
    """The rule that a contact broke, as found by the audit of the ledger."""

    OUTSIDE_WINDOW = "outside_window"
    OVER_CAP = "over_cap"
    TOO_SOON = "too_soon"
    AFTER_OPT_OUT = "after_opt_out"
    DURING_HOLD = "during_hold"
    AFTER_CLOSE = "after_close"
    NO_CONSENT = "no_consent"
    REPEAT = "repeat"


class HoldKind(StrEnum):
    """Reasons for which a borrower or case must not be contacted for now. contact-rules.md section 5.2."""

    DISPUTE = "dispute"
    ATTORNEY = "attorney_represented"
    CEASE = "cease"
    BANKRUPTCY = "bankruptcy"
    BREATHING_SPACE = "breathing_space"
    DECEASED = "deceased"
    PLAN_IN_PLACE = "plan_in_place"
    VULNERABLE = "vulnerable"
    MENTAL_CAPACITY = "mental_capacity"
    COMPLAINT_OPEN = "complaint_open"
    DEBT_ADVISER = "debt_adviser"
    DISASTER = "disaster"
    BEREAVEMENT = "bereavement"
    WRONG_PARTY = "wrong_party"
    PROMISE_TO_PAY = "promise_to_pay"
    PAYMENT_REPORTED = "payment_reported"  # the borrower says that they have paid; the case system looks


class Intent(StrEnum):
    """What a borrower's reply says. Up to WANTS_PERSON a person reads it; see ops/replies.md.

    The order is that of urgency: a reply that says several things has the first one as its intent.
    """

    DANGER = "danger"  # to themselves or to others
    STOP = "stop"
    DECEASED = "deceased"
    ILLNESS = "illness"
    DETAINED = "detained"
    MISSING = "missing"
    FRAUD = "fraud"
    DISPUTE = "dispute"
    WRONG_PARTY = "wrong_party"
    THIRD_PARTY = "third_party"  # a relative, colleague or employer of the borrower
    COMPLAINT = "complaint"
    ATTORNEY = "attorney"
    HARDSHIP = "hardship"
    VULNERABLE = "vulnerable"
    MAYBE_STOP = "maybe_stop"  # possibly a stop: no contact until a person has read it
    WANTS_PERSON = "wants_person"
    START = "start"
    HELP = "help"
    BALANCE = "balance"
    DUE_DATE = "due_date"
    HOW_TO_PAY = "how_to_pay"
    PAID = "paid"
    PLAN = "plan"
    PROMISE = "promise"
    RECEIPT = "receipt"
    THANKS = "thanks"
    LANGUAGE = "language"
    NEW_ADDRESS = "new_address"
    OTHER = "other"  # not understood


# What the safety rules find: it goes to a person, whatever else the reply says.
SAFETY = (
    Intent.DANGER,
    Intent.STOP,
    Intent.DECEASED,
    Intent.ILLNESS,
    Intent.DETAINED,
    Intent.MISSING,
    Intent.FRAUD,
    Intent.DISPUTE,
    Intent.WRONG_PARTY,
    Intent.THIRD_PARTY,
    Intent.COMPLAINT,
    Intent.ATTORNEY,
    Intent.HARDSHIP,
    Intent.VULNERABLE,
    Intent.MAYBE_STOP,
    Intent.WANTS_PERSON,
)

# After these nothing more goes to that address.
STOPS = frozenset({Intent.STOP, Intent.MAYBE_STOP, Intent.WRONG_PARTY})
