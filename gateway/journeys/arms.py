"""Holdout and arms: which cases wait, and which steps apply to a case; by a stable hash."""

from __future__ import annotations

import hashlib

from gateway.journeys.definitions.model import JourneyDefinition

_SCALE = 2**53  # every such fraction is exact as a float


def fraction(*words: str) -> float:
    """A number in [0, 1) that depends on the words alone, evenly spread."""
    digest = hashlib.sha256("\x1f".join(words).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / _SCALE


def in_holdout(definition: JourneyDefinition, case_id: str) -> bool:
    """Whether this case waits before the first step."""
    holdout = definition.holdout
    return holdout is not None and fraction(definition.name, case_id, "holdout") < holdout.share


def arm_of(definition: JourneyDefinition, case_id: str) -> str:
    """The case's arm; "" for the rest, and without arms."""
    place = fraction(definition.name, case_id, "arm")
    for arm in definition.arms:
        if place < arm.share:
            return arm.name
        place -= arm.share
    return ""
