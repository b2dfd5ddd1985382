"""Lint findings, and the message text that they are found in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from channels.profile import ChannelProfile
from gateway.templates.checks.word_lists import WordList
from gateway.templates.language.language import CompiledPart
from gateway.templates.language.source import BadTemplate
from gateway.templates.language.source_positions import SourcePosition
from gateway.templates.language.version import TemplateVersion, jurisdiction_of
from gateway.templates.rendering import markup
from gateway.templates.translatable import translatable


@dataclass(frozen=True, slots=True)
class LintFinding:
    """A problem found by the lint. ``line`` counts from 1 in the part, 0 for the whole part; ``remedy`` is the fix."""

    level: str
    rule: str
    where: str  # template/locale/part
    line: int
    detail: str
    remedy: str
    column: int = 0  # counts from 1; 0 for the whole part
    instead: str = ""  # the suggested wording
    found: str = ""  # the words that it replaces, as written

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.where}{place}: {self.detail}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class MessageText:
    """The text of one message: of a locale, a channel and a jurisdiction."""

    version: TemplateVersion
    locale: str
    channel: str
    jurisdiction: str
    parts: Sequence[tuple[str, CompiledPart]]
    words: WordList | None

    @property
    def profile(self) -> ChannelProfile:
        return self.version.profiles[self.channel]

    @property
    def borrowers(self) -> str:
        """The jurisdiction of those who get it: the message's own, or that of the locale's country."""
        return self.jurisdiction or jurisdiction_of(self.locale.partition("-")[2])

    @property
    def where(self) -> str:
        return self.parts[0][1].where


def finding_at(
    level: str, rule: str, part: CompiledPart, place: SourcePosition, detail: str, remedy: str, *better: str
) -> LintFinding:
    """A finding at a position of the source. ``better``: the suggested wording, and the words that it replaces."""
    words = place.sentence(detail)
    return LintFinding(
        level, rule, part.where, place.line, words, remedy, place.column, *(() if place.inside else better)
    )


def findings_of(error: BadTemplate) -> list[LintFinding]:
    """The compile errors of a text as findings."""
    remedy = translatable("Fix it there.")
    return [
        LintFinding("error", "does_not_compile", each.where, each.line, each.detail, remedy, each.column)
        for each in error.problems
    ]


def readable_text(part: CompiledPart) -> str:
    """The words of a part that a reader sees, at the offsets of the source; template tags are blanked out."""
    if part.is_mail:
        return markup.words(part.source.text)
    return markup.LIQUID.sub(lambda found: "\x00" * len(found[0]), part.source.text)
