"""Kinds of events of cases and journeys that case systems are told of: webhook types, and the events' own kinds."""

from __future__ import annotations

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
