"""Words of journeys that other domains read: webhook types, and the closed lists of exits, step results and reviews."""

from __future__ import annotations

from enum import StrEnum

CASE_TYPES = (
    "case.opened",
    "case.payment",
    "case.promised",
    "case.promise_withdrawn",
    "case.plan_agreed",
    "case.plan_ended",
    "case.paid",
    "case.closed",
    "case.reopened",
    "case.promise_broken",
    "case.gate_lapsed",
    "case.legal_step_approved",
)
JOURNEY_TYPES = (
    "journey.entered",
    "journey.step",
    "journey.paused",
    "journey.resumed",
    "journey.gate_opened",
    "journey.exited",
)


class ExitReason(StrEnum):
    """Why a journey ended: what ends every journey, the words of a definition's ``exit``, and persons' acts."""

    PAID = "paid"
    CLOSED = "closed"
    PLAN_AGREED = "plan_agreed"
    PLAN_ENDED = "plan_ended"  # of a journey that began with the plan
    DECEASED = "deceased"
    WRONG_PARTY = "wrong_party"
    DISPUTE = "dispute"
    BANKRUPTCY = "bankruptcy"
    ATTORNEY_REPRESENTED = "attorney_represented"
    CEASE = "cease"
    COMPLAINT_OPEN = "complaint_open"
    OPTED_OUT = "opted_out"
    COMPLETED = "completed"  # no step is left
    REFUSED = "gate_refused"
    STOPPED = "stopped"  # an operator stopped the definition
    ENDED_BY_PERSON = "ended_by_person"


class StepResult(StrEnum):
    """What became of a step."""

    SENT = "sent"  # handed to ``accept``; the notification says what came of it
    SKIPPED = "skipped"  # its conditions did not hold, or it was for another arm
    MISSED = "missed"  # too late after an outage, and the definition skips then
    REJECTED = "rejected"  # ``accept`` found the request invalid
    APPROVED = "approved"
    EMITTED = "emitted"


class JourneyReview(StrEnum):
    """Why a journey waits for a person to look at it."""

    GATE_LAPSED = "gate_lapsed"
    DEFINITION_UNREADABLE = "definition_unreadable"  # the stored text is no definition, or the version is gone
    DECISION_FAILED = "decision_failed"  # deciding raised an exception: a fault of the program
