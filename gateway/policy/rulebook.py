"""The one list of rule families. A new rule is a new file and a line here."""

from __future__ import annotations

from gateway.policy import audience, caps, consent, content, freshness, gaps, holds, lifecycle, windows
from gateway.policy.rule import Rule, Source

# In the order in which a verdict lists them; of two equally strict rules the first gives the reason.
RULES = (
    lifecycle.compile_rules,
    audience.compile_rules,
    holds.compile_rules,
    consent.compile_rules,
    freshness.compile_rules,
    content.compile_rules,
    windows.compile_rules,
    gaps.compile_rules,
    caps.compile_rules,
)


def compile_source(source: Source) -> tuple[Rule, ...]:
    """Every rule that one half of a pack contains."""
    return tuple(rule for family in RULES for rule in family(source))
