"""The small language of the rules' phrases.

``a(b|c|)d`` gives alternatives, ``…`` stands for a few words (Latin script) or characters (Chinese) of the same clause,
``*`` at the end of a word for any ending, ``$`` for the end of the clause. A Latin phrase is whole words; a Chinese one
may stand anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from gateway.replies.normalisation import CJK

# How far the parts of a phrase may be apart; our choice.
_WORDS_APART, _CHARACTERS_APART = 4, 6

# Digits of a number to call (110), which is none as a part of a longer one, such as a one-time code; our choice.
_SHORTEST_NUMBER = 3

_SPECIAL = re.compile(r"([()|…*$])")
_CJK = re.compile(f"[{CJK}]")
_WITH_ENDINGS = re.compile(r"([^\W\d_]+)\(([^\W\d_|]*(?:\|[^\W\d_|]*)+)\)")
_BEGINNING = re.compile(r"([^\W\d_]+)\*")


def compile_phrases(phrases: Iterable[str], normalise: Callable[[str], str]) -> re.Pattern[str] | None:
    """One expression for all phrases; None for none. Raises ValueError for a phrase that can't be read."""
    parts = [_expression(phrase, normalise) for phrase in phrases]
    try:
        return re.compile("|".join(parts)) if parts else None
    except re.error as error:
        raise ValueError(f"the phrases can't be read: {error}") from None


def _expression(phrase: str, normalise: Callable[[str], str]) -> str:
    chinese = bool(_CJK.search(phrase))
    made = []
    parts = [part for part in _SPECIAL.split(re.sub(r"\s*…\s*", "…", phrase)) if part]
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        if part == "(":
            made.append("(?:")
        elif part == "…":
            # A group of its own: a negation in it counts.
            apart = rf"((?: [^|\s]+){{0,{_WORDS_APART}}})" + " " * (following not in ("", ")", "|"))
            made.append(f"([^|]{{0,{_CHARACTERS_APART}}})" if chinese else apart)
        elif part == "*":
            made.append(r"[^|\s]*")
        elif part == "$":
            made.append(r"(?= ?(?:\||$))")
        elif part in (")", "|"):
            made.append(part)
        else:
            before, after = " " * part.startswith(" "), " " * (part.endswith(" ") and bool(part.strip()))
            words = normalise(part)
            if chinese and words:  # the normal form has a space between scripts: "send 错"
                before, after = before or " ?" * words[0].isascii(), after or " ?" * words[-1].isascii()
            literal = re.escape(words)
            if chinese and words.isdigit() and len(words) >= _SHORTEST_NUMBER:
                literal = rf"(?<!\d){literal}(?!\d)"
            made.append(before + literal + after)
    if made.count("(?:") != made.count(")") or not any(map(str.isalnum, phrase)):
        raise ValueError(f"the phrase {phrase!r} can't be read: its brackets don't match, or it has no words")
    return f"(?:{''.join(made)})" if chinese else rf"(?<!\S)(?:{''.join(made)})(?!\S)"


def words_of(phrases: Collection[str], normalise: Callable[[str], str]) -> set[str]:
    """The Latin words of the phrases, with their endings: ``threaten(ing|ed|)``."""
    found = [re.sub(r"[()|…*$]", " ", phrase) for phrase in phrases]
    found += [_endings(each) for phrase in phrases for each in _WITH_ENDINGS.finditer(phrase)]
    return {word for each in found for word in normalise(each).split() if word.isascii() and word.isalpha()}


def _endings(found: re.Match[str]) -> str:
    stem, endings = found.groups()
    return " ".join(f"{stem}{ending}" for ending in endings.split("|"))


def beginnings_of(phrases: Iterable[str], normalise: Callable[[str], str]) -> set[str]:
    """The Latin words of the phrases that may have any ending, without it: ``incarcerat*``."""
    found = (_BEGINNING.findall(phrase) for phrase in phrases)
    return {word for each in found for word in map(normalise, each) if word.isascii() and word.isalpha()}
