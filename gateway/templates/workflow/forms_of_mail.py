"""Converts a locale's e-mail between its two forms: written in Markdown, and laid out as source (MJML and plain text).

Both directions return files of the locale. To the source nothing is lost. To Markdown, what it can't express is named,
and nothing is converted. Must not know versions or permissions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape

from channels.profile import ChannelProfile, Profiles
from gateway.templates.language.composed import texts
from gateway.templates.language.version import TemplateVersion, jurisdiction_of, shared_texts
from gateway.templates.translatable import Translatable, translatable

_LIQUID = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})", re.DOTALL)
_COLUMN = re.compile(
    r"<mj-body[^<>]*>\s*<mj-section[^<>]*>\s*<mj-column>(.*)</mj-column>\s*</mj-section>(.*?)</mj-body>", re.DOTALL
)
_BLOCK = re.compile(
    r"\s*(?:<mj-text>(?P<text>.*?)</mj-text>|<mj-button href=\"(?P<href>[^\"]*)\">(?P<label>.*?)</mj-button>"
    r"|(?P<rule><mj-divider ?/>)|(?P<tag>\{%.*?%\})|(?P<end>$))",
    re.DOTALL,
)
_INLINE = re.compile(r"<(/?)([a-z0-9]+)(?: href=\"([^\"]*)\")?\s*/?>")
_MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*"}
_SIGNS = re.compile(r"([\\*_\[\]<])")
_AT_START = re.compile(r"^(\s*)([#>+-]|\d+(?=[.)]))", re.MULTILINE)
# The laid-out shared texts that a written message has by its plain ones.
_PLAIN = {"disclosure-mail": "disclosure", "signature-mail": "signature", "mail-foot-opt-out": "opt-out-email"}


class NotConvertible(Exception):
    """The source has what Markdown can't express; ``detail`` names it."""

    def __init__(self, detail: Translatable) -> None:
        super().__init__(detail)
        self.detail = detail


def other_form(
    profiles: Profiles, version: TemplateVersion | None, files: Mapping[str, str], locale: str
) -> dict[str, str]:
    """A template's files with the e-mail of one locale in its other form. Raises NotConvertible.

    ``version``: the files compiled, for the shared texts.
    """
    profile = next(each for each in profiles.values() if each.markdown is not None)
    if version is None:
        raise NotConvertible(translatable("the template has errors: fix them first"))
    named = shared_texts(version.source.fragments, locale)
    shared = named.get(jurisdiction_of(locale.partition("-")[2]), named[""])
    if profile.form(files, f"{locale}/") is profile.parts:
        made = to_markdown(profile, files, locale)
        written = {f"{locale}/{file}": text for file, text in made.items()}
        _compare(profile, files, to_source(profile, written, locale, shared), locale)
    else:
        made = to_source(profile, files, locale, shared)
    replaced = {f"{locale}/{file}" for file in profile.files}
    kept = {name: text for name, text in files.items() if name not in replaced}
    # What both forms have, the subject, stays byte for byte.
    same = {name: files[name] for file in _both(profile) if (name := f"{locale}/{file}") in files}
    return {**kept, **{f"{locale}/{file}": text for file, text in made.items()}, **same}


def _compare(profile: ChannelProfile, files: Mapping[str, str], again: Mapping[str, str], locale: str) -> None:
    """Raises NotConvertible where the source that Markdown would make is another one; the HTML's title is its own."""
    for part in profile.parts:
        old, new = (
            re.sub(r"<mj-title>.*?</mj-title>|\s+(?=<)|(?<=>)\s+", "", text, flags=re.DOTALL).split()
            for text in (files.get(f"{locale}/{part.file}", ""), again.get(part.file, ""))
        )
        if old != new:
            at = next(
                (at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other),
                min(len(old), len(new)),
            )
            names = {"file": part.file, "old": " ".join(old[at : at + 4]), "new": " ".join(new[at : at + 4])}
            raise NotConvertible(translatable("{file} has “{old}”, and Markdown would make “{new}” of it", **names))


def _both(profile: ChannelProfile) -> set[str]:
    """The files that both forms have."""
    return {part.file for part in profile.parts} & {part.file for part in profile.written}


def to_source(
    profile: ChannelProfile, files: Mapping[str, str], locale: str, shared: Mapping[str, str]
) -> dict[str, str]:
    """The files of a written message as source. ``shared``: the shared texts of the locale. Raises NotConvertible."""
    made = {}
    for each in texts(profile, files, locale, shared):
        if each.error:
            raise NotConvertible(translatable("{where}: {detail}", where=each.file, detail=each.error))
        part = next((part for part in profile.parts if part.field == each.field), None)
        if part is not None:
            made[part.file] = f"{(each.text or '').rstrip()}\n"
    return made


def to_markdown(profile: ChannelProfile, files: Mapping[str, str], locale: str) -> dict[str, str]:
    """The files of a message's source in Markdown. Raises NotConvertible."""
    by_field = {part.field: files.get(f"{locale}/{part.file}", "") for part in profile.parts}
    source = re.sub(r"(?<=>)\s*\n\s*(?=[<{])", "\n", by_field["html"])
    column = _COLUMN.search(source)
    if column is None:
        raise NotConvertible(translatable("the layout has several sections or columns"))
    blocks = _blocks(column[1])
    blocks += _shared(column[2])
    preview = re.search(r"<mj-preview>(.*?)</mj-preview>", source, re.DOTALL)
    made = {"subject": by_field["subject"], "preview": unescape(preview[1]).strip() if preview else ""}
    made["message"] = "\n\n".join(blocks)
    return {part.file: f"{made[part.field].rstrip()}\n" for part in profile.written if made[part.field].strip()}


def _blocks(column: str) -> list[str]:
    found: list[str] = []
    begun = ""  # conditions that stand before the next block
    at = 0
    while at < len(column):
        block = _BLOCK.match(column, at)
        if block is None:
            what = re.sub(r"\s+", " ", column[at : at + 40]).strip()
            raise NotConvertible(translatable("Markdown has nothing for {what}", what=repr(what)))
        at = max(block.end(), at + 1)
        if (tag := block["tag"]) is not None:
            if "render" in tag:
                found += [begun + each for each in _shared(tag)]
                begun = ""
            elif re.match(r"\{%-?\s*end", tag) and found and not begun:
                found[-1] += tag
            else:
                begun += tag
        elif block["text"] is not None:
            found.append(begun + _words(block["text"].strip()))
            begun = ""
        elif block["href"] is not None:
            found.append(f"{begun}[[{_words(block['label'].strip())}]]({unescape(block['href'])})")
            begun = ""
        elif block["rule"]:
            found.append(f"{begun}---")
            begun = ""
    return [*found, begun] if begun else found


def _shared(tags: str) -> list[str]:
    names = re.findall(r"\{%-?\s*render\s+['\"]([a-z0-9-]+)['\"]", tags)
    return [f"{{% render '{_PLAIN.get(name, name)}' %}}" for name in names if name != "mail-foot"]


def _words(html: str) -> str:
    """A paragraph's words with their emphasis and links. Raises NotConvertible."""
    made: list[str] = []
    links: list[str] = []
    for number, piece in enumerate(_LIQUID.split(html)):
        if number % 2:
            made.append(piece)
            continue
        done = 0
        for tag in _INLINE.finditer(piece):
            made.append(_escaped(piece[done : tag.start()]))
            made.append(_mark(tag, links))
            done = tag.end()
        made.append(_escaped(piece[done:]))
    return "".join(made)


def _mark(tag: re.Match[str], links: list[str]) -> str:
    closing, name, href = tag.groups()
    if name == "br":
        return "\n"
    if name == "a" and href and not closing:
        links.append(unescape(href))
        return "["
    if name == "a" and closing and links:
        return f"]({links.pop()})"
    if name not in _MARKS:
        raise NotConvertible(translatable("Markdown has nothing for {what}", what=f"<{name}>"))
    return _MARKS[name]


def _escaped(text: str) -> str:
    words = re.sub(r"\s+", " ", text)
    if "<" in words:
        raise NotConvertible(translatable("Markdown has nothing for {what}", what=repr(words[words.index("<") :][:40])))
    return _AT_START.sub(r"\1\\\2", _SIGNS.sub(r"\\\1", unescape(words)))
