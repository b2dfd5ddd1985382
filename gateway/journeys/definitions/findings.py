"""What the lint of a definition finds. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JourneyFinding:
    """Something in a definition to change: ``place`` is a step or a table of the file, ``detail`` has the remedy."""

    level: str
    rule: str
    place: str
    detail: str


def error(rule: str, place: str, detail: str) -> JourneyFinding:
    """What keeps the definition from going live."""
    return JourneyFinding("error", rule, place, detail)


def warning(rule: str, place: str, detail: str) -> JourneyFinding:
    """What its author should look at."""
    return JourneyFinding("warning", rule, place, detail)
