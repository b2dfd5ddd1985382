"""The words a message must carry, or must not: how to say stop.

Looks at the rendered message, so it has no opinion while nothing is rendered.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import datetime

from gateway.model import Category, PolicyReason, RuleResult
from gateway.policy.rule import Intent, Origin, Rule, Source


class OptOutTextRule(Rule):
    """Opt-out wording on some channels and categories: required, or forbidden.

    Waiting doesn't mend a text and nobody at a review desk can, so a message that fails is not sent on this channel.
    """

    __slots__ = ("categories", "channels", "phrases", "required")

    def __init__(
        self,
        origin: Origin,
        channels: frozenset[str],
        categories: frozenset[Category],
        phrases: tuple[str, ...],
        *,
        required: bool,
    ) -> None:
        super().__init__(origin)
        self.channels = channels
        self.categories = categories
        self.phrases = phrases
        self.required = required

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        applies = intent.channel in self.channels and intent.notification.category in self.categories
        if intent.text is None or not applies:
            return None
        text = folded(intent.text)
        present = any(phrase in text for phrase in self.phrases)
        if present is self.required:
            return self.origin.allows()
        if self.required:
            return self.origin.suppresses(PolicyReason.OPT_OUT_TEXT_MISSING)
        return self.origin.suppresses(PolicyReason.OPT_OUT_TEXT_FORBIDDEN)


def folded(text: str) -> str:
    """A text without the differences that don't change its words: width, case, runs of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def compile_rules(source: Source) -> Iterator[Rule]:
    for section in source.sections.get("opt_out_text", ()):
        yield OptOutTextRule(
            source.origin(f"opt_out_text.{section['presence']}", section),
            frozenset(section["channels"]),
            frozenset(Category(each) for each in section["categories"]),
            tuple(folded(each) for each in section["phrases"]),
            required=section["presence"] == "required",
        )
