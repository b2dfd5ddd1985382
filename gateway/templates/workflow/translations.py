"""Compares a template's translations with the texts of its default locale: what is missing, and what is older.

Pure functions: the files of earlier versions are arguments. A text is as old as the version in which it last changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.templates.language.source import SETTINGS

Files = Mapping[str, str]

# A pattern, since the settings of a draft may be invalid TOML.
_DEFAULT = re.compile(r"^default_locale\s*=\s*[\"']([A-Za-z-]+)", re.MULTILINE)


class TranslationState(StrEnum):
    """How a text stands to that of the default locale."""

    CURRENT = "current"
    OLDER = "older"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class TranslatedPart:
    """One part. ``default_text`` is the default locale's, ``text`` the translation ("" where it is missing).

    ``translated``: what the default locale said when the translation was last changed, where it is older.
    """

    file: str
    state: TranslationState
    default_text: str
    text: str
    translated: str = ""


def default_locale_of(files: Files) -> str:
    """The default locale that the settings name; "" where they name none."""
    found = _DEFAULT.search(files.get(SETTINGS, ""))
    return found[1] if found else ""


def translated_parts(files: Files, default_locale: str, locale: str, earlier: Sequence[Files]) -> list[TranslatedPart]:
    """The parts of a locale. ``earlier``: the files of the versions before, the newest first."""
    found = []
    for name in sorted(files):
        folder, _, file = name.partition("/")
        if folder != default_locale or not file:
            continue
        own, default_text = f"{locale}/{file}", files[name]
        if own not in files:
            found.append(TranslatedPart(file, TranslationState.MISSING, default_text, ""))
            continue
        changed, translated = _age(files, name, earlier), _age(files, own, earlier)
        if changed < translated:
            before = earlier[translated - 1].get(name, "")
            found.append(TranslatedPart(file, TranslationState.OLDER, default_text, files[own], before))
        else:
            found.append(TranslatedPart(file, TranslationState.CURRENT, default_text, files[own]))
    return found


def _age(files: Files, name: str, earlier: Sequence[Files]) -> int:
    """For how many versions a text has been as it is now; 0: it changed in this one."""
    return next((age for age, each in enumerate(earlier) if each.get(name) != files[name]), len(earlier))
