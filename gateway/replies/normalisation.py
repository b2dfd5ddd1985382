"""Brings a reply into the one form that rules and weights are matched against.

The form: compatibility characters folded (NFKC), lower case, no accents on Latin letters, traditional Chinese
characters read as simplified ones, emoji and marks dropped, no spaces between Chinese characters, one space elsewhere.
A sentence's marks become ``|``, so that a rule can't reach from one clause into another.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# Longer replies are matched by their beginning and their end. A mail's text is bounded by its receiver; our choice.
LONGEST = 4000

CJK = r"\u3400-\u4dbf\u4e00-\u9fff"
_CLAUSE_MARKS = frozenset(".,!?;:|…。、\n")
_APOSTROPHES = str.maketrans("", "", "'’‘`´ʼ")
_SPELT_OUT = re.compile(r"(?<!\S)(?:[a-z] ){2,}[a-z](?!\S)")
_BETWEEN_CJK = re.compile(rf"(?<=[{CJK}]) +(?=[{CJK}])")
_CJK_EDGE = re.compile(rf"(?<=[{CJK}])(?=[^\s{CJK}])|(?<=[^\s{CJK}])(?=[{CJK}])")
_QUOTED = re.compile(r"[“„«「『《\"]([^“”„«»「」『』《》\"]{1,200})[”»」』》\"]")


@dataclass(frozen=True, slots=True)
class Normaliser:
    """``fold`` maps a traditional character to the simplified one."""

    fold: dict[int, str]

    def __call__(self, text: str) -> str:
        """The normal form of ``text``; "" for one without letters."""
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
        folded = unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES).translate(self.fold)
        if not folded.isascii():
            folded = _without_accents(folded)
        kept = "".join(map(_kept, folded))
        kept = _BETWEEN_CJK.sub("", " ".join(kept.split()))
        kept = _CJK_EDGE.sub(" ", kept)
        return _SPELT_OUT.sub(lambda found: found.group().replace(" ", ""), " ".join(kept.split()))

    def outside_quotes(self, text: str) -> str:
        """The normal form of what is not in quotation marks; of everything where nothing else is said."""
        outside = self(_QUOTED.sub(" | ", unicodedata.normalize("NFKC", text)))
        return outside if outside.strip("| ") else self(text)


def _without_accents(text: str) -> str:
    # Of Latin letters alone: the vowels of Indic scripts are combining marks, too.
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(each for each in parts if not "\u0300" <= each <= "\u036f"))


@lru_cache(maxsize=4096)  # some 2,000 characters occur in replies of one language; our choice
def _kept(character: str) -> str:
    if character.isalnum():
        return character
    if character in _CLAUSE_MARKS:
        return " | "
    category = unicodedata.category(character)
    if category[0] == "M":
        return "" if "\ufe00" <= character <= "\ufe0f" else character
    return "" if category == "Cf" else " "


def load_normaliser(folder: Path) -> Normaliser:
    """Read ``traditional.toml``. Raises ValueError where its two texts don't fit together."""
    path = folder / "traditional.toml"
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        old, new = ("".join(content[name].split()) for name in ("traditional", "simplified"))
    except (OSError, KeyError, AttributeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"replies/{path.name}: {error}") from None
    if len(old) != len(new):
        raise ValueError(f"replies/{path.name}: {len(old)} traditional and {len(new)} simplified characters")
    return Normaliser({ord(one): other for one, other in zip(old, new, strict=True)})
