"""What a person may begin an answer with: published answers that need no values, and canned notes (data)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.conversations.conversation import Conversation
from gateway.conversations.requests import PERSONS_TEMPLATE
from gateway.core.clock import Clock
from gateway.core.errors import UnknownTemplate
from gateway.replies.rules import language_of
from gateway.templates import Catalog

_MOST = 8  # suggestions on a page; our choice


class Suggestions:
    """``notes`` are the canned notes by language."""

    def __init__(self, catalog: Catalog, notes: Mapping[str, Sequence[str]], clock: Clock) -> None:
        self._catalog = catalog
        self._notes = notes
        self._clock = clock

    def notes(self, locale: str) -> Sequence[str]:
        """The notes in the borrower's language; in English where there are none."""
        return self._notes.get(language_of(locale, self._notes), self._notes.get("en", ()))

    def templates(self, conversation: Conversation) -> list[tuple[str, str]]:
        """The id and title of published answers of the category service, with words for the conversation's channel."""
        found = []
        for name in sorted(self._catalog.names() - {PERSONS_TEMPLATE}):
            try:
                version = self._catalog.resolve(conversation.tenant, name, None, self._clock())
            except UnknownTemplate:  # another tenant's
                continue
            needs = any(each.required for each in version.variables.values())
            if version.category == "service" and not needs and conversation.channel in version.channels:
                found.append((name, version.title))
        return found[:_MOST]


def load_notes(path: Path) -> Mapping[str, Sequence[str]]:
    """Read the canned notes. Raises ValueError naming what is wrong."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return {language: tuple(map(str, each["notes"])) for language, each in content.items()}
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"answers/{path.name}: {error}") from None
