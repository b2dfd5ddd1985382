"""Sentences with their pattern and values, so that a page can translate them.

The English pattern is in the code; translations are in gateway/web/texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from channels.profile import Wording


class Translatable(str):
    """An English string that also has its pattern and values. ``values`` may be translatable, too.

    ``translations`` are those that came with it, by language; else the pages' texts have them.
    """

    pattern: str
    values: Mapping[str, object]
    translations: Mapping[str, str]


def translatable(pattern: str, /, **values: object) -> Translatable:
    """``pattern`` formatted with ``values`` by ``str.format``; without values, unchanged."""
    made = Translatable(pattern.format(**values) if values else pattern)
    made.pattern, made.values, made.translations = pattern, values, {}
    return made


def worded(wording: Wording) -> Translatable:
    """What a channel's package says, with the translations that it brings along."""
    made = Translatable(wording.en)
    made.pattern, made.values, made.translations = wording.en, {}, {"en": wording.en, "zh": wording.zh}
    return made


def joined(sentences: Iterable[str], by: str = "; ") -> Translatable:
    """Several sentences, joined; each can be translated by itself."""
    values = {f"part{number}": each for number, each in enumerate(sentences)}
    return translatable(by.join(f"{{{name}}}" for name in values), **values)
