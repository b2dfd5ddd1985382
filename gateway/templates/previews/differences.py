"""The differences of two versions: a summary in sentences, a word diff of the files, and the rendered messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff

from channels.content import Content
from channels.profile import Profiles
from gateway.templates.language.source import SETTINGS
from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.preview import ChannelPreview, all_previews
from gateway.templates.translatable import Translatable, translatable, worded

# A token is a word, a run of spaces, or one sign; a Chinese character is a token.
_TOKEN = re.compile(r"[^\W\u2e80-\U0010ffff]+|\s+|.", re.DOTALL)
_MOST_TOKENS = 4_000  # our choice: comparing takes quadratic time at worst; longer texts are compared by line
_SETTINGS = {
    "title": translatable("the title"),
    "description": translatable("the description"),
    "category": translatable("the category"),
    "default_locale": translatable("the default locale"),
    "must_arrive": translatable("whether delivery is required"),
}


@dataclass(frozen=True, slots=True)
class DiffPiece:
    """A piece of text: ``same``, ``removed`` or ``added``; in order, they make up both texts."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class FileDifference:
    """One file. ``change``: added, removed or changed; ``unified`` is its unified diff."""

    name: str
    change: str
    pieces: tuple[DiffPiece, ...]
    unified: str


@dataclass(frozen=True, slots=True)
class MessageDifference:
    """The rendered message of one channel and locale, before and after. None: missing, or can't be rendered."""

    channel: str
    locale: str
    before: Content | None
    after: Content | None
    subject: tuple[DiffPiece, ...]
    text: tuple[DiffPiece, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """``words`` are sentences, the most important first; empty where nothing changed."""

    words: tuple[str, ...]
    files: tuple[FileDifference, ...]
    shown: tuple[MessageDifference, ...]


def difference(
    before: Mapping[str, str],
    after: Mapping[str, str],
    compiled_before: TemplateVersion | None,
    compiled_after: TemplateVersion | None,
    profiles: Profiles,
) -> Difference:
    """The differences of the files ``before`` and ``after``, with the compiled version of each, if there is one."""
    names = sorted(before.keys() | after.keys(), key=lambda name: (name != SETTINGS, name))
    files = tuple(
        _file(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )
    settings = _settings(compiled_before, compiled_after) if compiled_before and compiled_after else []
    shown = _shown(compiled_before, compiled_after)
    return Difference((*settings, *_parts(files, profiles), *_fragments(files, shown, profiles)), files, shown)


def pieces(before: str, after: str) -> tuple[DiffPiece, ...]:
    """A word diff of two texts."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if max(len(old), len(new)) > _MOST_TOKENS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found: list[DiffPiece] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            found.append(DiffPiece("same", "".join(old[a:b])))
            continue
        if b > a:
            found.append(DiffPiece("removed", "".join(old[a:b])))
        if d > c:
            found.append(DiffPiece("added", "".join(new[c:d])))
    return tuple(found)


def _file(name: str, before: str | None, after: str | None) -> FileDifference:
    old, new = before or "", after or ""
    change = "added" if before is None else "removed" if after is None else "changed"
    lines = unified_diff(old.splitlines(), new.splitlines(), f"before/{name}", f"after/{name}", lineterm="")
    return FileDifference(name, change, pieces(old, new), "\n".join(lines))


def _settings(before: TemplateVersion, after: TemplateVersion) -> list[Translatable]:
    found = []
    for name, words in _SETTINGS.items():
        old, new = before.source.settings.get(name), after.source.settings.get(name)
        if old != new:
            found.append(
                translatable("{what} changed from {old} to {new}", what=words, old=_quoted(old), new=_quoted(new))
            )
    for name in sorted(before.variables.keys() | after.variables.keys()):
        was, now = before.variables.get(name), after.variables.get(name)
        if was is None and now is not None:
            need = _need(now.required)
            found.append(
                translatable(
                    "the variable {name} ({type}) was added and is {need}", name=name, type=now.type, need=need
                )
            )
        elif now is None:
            found.append(translatable("the variable {name} was removed: requests that send it are refused", name=name))
        elif was is not None and was != now:
            if was.type != now.type:
                types = {"type": now.type, "old": was.type}
                found.append(translatable("the variable {name} is now of type {type}, not {old}", name=name, **types))
            if was.required != now.required:
                found.append(translatable("the variable {name} is now {need}", name=name, need=_need(now.required)))
            if (was.example, was.description) != (now.example, now.description):
                found.append(translatable("the example or description of the variable {name} changed", name=name))
    return found


def _need(required: bool) -> Translatable:
    return translatable("required") if required else translatable("optional")


def _quoted(value: object) -> str:
    return translatable("nothing") if value is None else f"“{value}”"


def _parts(files: Sequence[FileDifference], profiles: Profiles) -> list[Translatable]:
    found: dict[tuple[str, str, str], None] = {}
    for file in files:
        locale, _, part = file.name.rpartition("/")
        if locale == "examples":
            example = translatable("the example {name}", name=part.removesuffix(".json"))
            found[(file.change, example, "")] = None
        elif locale:
            nouns = (worded(each.noun) for each in profiles.values() if part in each.files)
            found[(file.change, next(nouns, part.partition(".")[0]), locale)] = None
    return [
        _became(change, translatable("{what} in {locale}", what=what, locale=locale) if locale else what)
        for change, what, locale in found
    ]


def _became(change: str, what: str) -> Translatable:
    if change == "added":
        return translatable("{what} was added", what=what)
    return (
        translatable("{what} was removed", what=what)
        if change == "removed"
        else translatable("{what} changed", what=what)
    )


def _fragments(
    files: Sequence[FileDifference], shown: Sequence[MessageDifference], profiles: Profiles
) -> list[Translatable]:
    """Messages that changed though none of their files did: a shared text has changed."""
    touched = {each.name.rpartition("/")[0] for each in files}
    if SETTINGS in {each.name for each in files}:
        return []
    return [
        translatable(
            "{what} in {locale} reads differently because a shared text changed",
            what=worded(profiles[each.channel].noun),
            locale=each.locale,
        )
        for each in shown
        if each.locale not in touched
    ]


def _shown(before: TemplateVersion | None, after: TemplateVersion | None) -> tuple[MessageDifference, ...]:
    old, new = _contents(before), _contents(after)
    found = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was != now:
            subject = pieces(was.subject if was else "", now.subject if now else "")
            text = pieces(was.text if was else "", now.text if now else "")
            found.append(MessageDifference(key[0], key[1], was, now, subject, text))
    return tuple(found)


def _contents(version: TemplateVersion | None) -> dict[tuple[str, str], Content]:
    """The rendered messages by (channel, locale), without locales that fall back to another."""
    if version is None:
        return {}
    shown: Sequence[ChannelPreview] = [each for each in all_previews(version) if each.content is not None]
    return {(each.channel, each.locale): each.content for each in shown if each.content is not None}
