"""Makes the first text of a new template, from another template's text or from a blank one.

Returns files as an editor sees them, which may still have lint errors. Must not know permissions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from channels.profile import ChannelProfile, Part, Profiles
from gateway.core.bounded.toml import read_toml
from gateway.templates.language.source import SETTINGS
from gateway.templates.workflow.variable_settings import with_settings


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """A new template: a title, a category of the policy, and at least one locale and one channel."""

    title: str
    category: str
    locales: Sequence[str]
    channels: Sequence[str]


def starting_files(plan: NewTemplate, profiles: Profiles, source: Mapping[str, str] | None = None) -> dict[str, str]:
    """The files of a new template. ``source``: the text to copy, for the wanted locales and channels.

    A locale that the source lacks gets the default locale's text, for translation; a channel that it lacks is blank.
    """
    words = source or {SETTINGS: "[variables]\n"}
    default = read_toml(words[SETTINGS]).get("default_locale", "")
    settings = {
        "version": "1",
        "title": plan.title,
        **({} if source else {"description": plan.title}),
        "category": plan.category,
        "default_locale": default if default in plan.locales else plan.locales[0],
    }
    files = {SETTINGS: with_settings(words[SETTINGS], settings)}
    for locale in plan.locales:
        for part in (part for channel in plan.channels for part in _form(profiles[channel], words, locale, default)):
            copied = words.get(f"{locale}/{part.file}") or words.get(f"{default}/{part.file}")
            files[f"{locale}/{part.file}"] = copied or part.blank
        if (example := f"examples/{locale.lower()}.json") in words:
            files[example] = words[example]
    return files


def _form(profile: ChannelProfile, words: Mapping[str, str], locale: str, default: str) -> Sequence[Part]:
    """The parts of the form that the copied text has; a blank one is written, not laid out."""
    for place in (locale, default):
        if any(f"{place}/{file}" in words for file in profile.files):
            return profile.form(words, f"{place}/")
    return profile.written or profile.parts
