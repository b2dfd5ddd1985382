"""Sentences for editors that remember how they were made, so that a page can say them in its reader's language.

The English stands where the rule is; what it is in other languages is the pages' business (gateway/web/texts).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Translatable(str):
    """A sentence in English, and for everybody but a page no more than that. ``values`` may be sentences themselves."""

    pattern: str
    values: Mapping[str, object]


def translatable(pattern: str, /, **values: object) -> Translatable:
    """``pattern`` with ``values`` in its gaps, as ``str.format`` writes them; without values, as it stands."""
    made = Translatable(pattern.format(**values) if values else pattern)
    made.pattern, made.values = pattern, values
    return made


def joined(sentences: Iterable[str], by: str = "; ") -> Translatable:
    """Several in a row, each still a sentence."""
    values = {f"part{number}": each for number, each in enumerate(sentences)}
    return translatable(by.join(f"{{{name}}}" for name in values), **values)
