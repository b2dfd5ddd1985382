"""The metrics of journeys: each event counts once, under words of the closed lists."""

from __future__ import annotations

from typing import get_args

from gateway.app.journeys import count_events
from gateway.core.journey_events import ExitReason, JourneyReview
from gateway.journeys.definitions.model import ExitWord
from gateway.journeys.history import JourneyEvent
from gateway.observability.metrics import Metrics


def test_events_are_counted_by_their_words() -> None:
    """Entered, exits and reviews by reason, steps by result; the reminder of a promise is a step that was sent."""
    metrics = Metrics([], [])
    events = [
        JourneyEvent("journey.entered"),
        JourneyEvent("journey.step", "", {"step": "remind", "result": "sent"}),
        JourneyEvent("journey_step", "", {"step": "offer", "result": "skipped"}),
        JourneyEvent("journey.step", "", {"step": "promise-r1", "notification_id": "ntf_1"}),
        JourneyEvent("case.gate_lapsed", "", {"step": "legal"}),
        JourneyEvent("journey_set_aside", JourneyReview.DEFINITION_UNREADABLE),
        JourneyEvent("journey.exited", ExitReason.PAID),
        JourneyEvent("journey_held", "", {"why": "asked by phone"}),
    ]
    count_events(metrics, events)
    counted = {
        (sample.name.removeprefix("gateway_"), *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if "journey" in sample.name and sample.value
    }
    assert counted == {
        ("journeys_entered_total",): 1,
        ("journey_steps_total", "sent"): 2,
        ("journey_steps_total", "skipped"): 1,
        ("journeys_set_aside_total", "gate_lapsed"): 1,
        ("journeys_set_aside_total", "definition_unreadable"): 1,
        ("journeys_exited_total", "paid"): 1,
    }
    assert metrics.registry.get_sample_value("gateway_unlisted_label_values_total") == 0


def test_every_word_of_a_definitions_exit_is_a_reason() -> None:
    """So that no exit is counted as ``other``."""
    assert set(get_args(ExitWord)) <= set(ExitReason)
