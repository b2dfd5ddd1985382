"""Counts the SMS segments of a text, and finds the characters that force the expensive encoding UCS-2.

Source: 3GPP TS 23.038 (GSM 7-bit default alphabet and its extension table) and TS 23.040 (concatenation): 160
septets alone or 153 each; 70 UTF-16 code units alone or 67 each. A character of two units is never split.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")

# Characters that word processors and number formats insert, with their equivalent in GSM 7-bit.
REPLACEMENTS: Mapping[str, str] = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201a": "'",
    "\u2032": "'",
    "`": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u00ab": '"',
    "\u00bb": '"',
    "\u2010": "-",
    "\u2011": "-",
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2022": "-",
    "\u2026": "...",
    "\u00d7": "x",
    "\u00a0": " ",
    "\u202f": " ",
    "\u2009": " ",
    "\t": " ",
    "₹": "Rs ",
}

_GSM_ALONE, _GSM_PART = 160, 153
_UCS2_ALONE, _UCS2_PART = 70, 67


@dataclass(frozen=True, slots=True)
class Segments:
    """``units`` are septets or UTF-16 code units. ``forcing``: (character, replacement or "") that forced UCS-2."""

    encoding: str
    units: int
    segments: int
    forcing: tuple[tuple[str, str], ...] = ()

    @property
    def avoidable(self) -> bool:
        """Whether only signs and spaces force UCS-2, and no letter of the language does."""
        return bool(self.forcing) and all(
            instead or unicodedata.category(character)[0] in "CSZ" for character, instead in self.forcing
        )


def segments(text: str) -> Segments:
    """Count the segments of ``text`` by 3GPP TS 23.040."""
    foreign = _foreign(text)
    forcing = tuple((each, REPLACEMENTS.get(each, "")) for each in foreign)
    units = sum(_widths(text, gsm=not foreign))
    return Segments("UCS-2" if foreign else "GSM-7", units, len(split(text)), forcing)


def split(text: str) -> list[str]:
    """Split the text into its segments."""
    gsm = not _foreign(text)
    widths = _widths(text, gsm=gsm)
    if sum(widths) <= (_GSM_ALONE if gsm else _UCS2_ALONE):
        return [text] if text else []
    part = _GSM_PART if gsm else _UCS2_PART
    begins, room = [0], part
    for at, width in enumerate(widths):
        if width > room:
            begins.append(at)
            room = part
        room -= width
    return [text[start:end] for start, end in zip(begins, [*begins[1:], len(text)], strict=True)]


def _foreign(text: str) -> tuple[str, ...]:
    """The characters that GSM 7-bit lacks, each once, in order."""
    return tuple(dict.fromkeys(each for each in text if each not in _BASIC and each not in _EXTENSION))


def _widths(text: str, *, gsm: bool) -> list[int]:
    if gsm:
        return [2 if each in _EXTENSION else 1 for each in text]
    return [2 if ord(each) > 0xFFFF else 1 for each in text]
