"""How many SMS segments a text takes, and which characters make it dear.

Source: 3GPP TS 23.038 (GSM 7-bit default alphabet and its extension table) and TS 23.040 (concatenation): 160
septets alone or 153 each; 70 UTF-16 code units alone or 67 each. A character of two units is never split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")

# Characters that word processors and number formats slip in, and what says the same in GSM 7-bit.
REPLACEMENTS: Mapping[str, str] = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "-",
    "\u2014": "-",
    "\u2026": "...",
    "\u00a0": " ",
    "\u202f": " ",
    "\u2009": " ",
    "₹": "Rs ",
    "`": "'",
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


def segments(text: str) -> Segments:
    """Count ``text`` as a phone network does."""
    foreign = tuple(dict.fromkeys(each for each in text if each not in _BASIC and each not in _EXTENSION))
    if not foreign:
        widths = [2 if each in _EXTENSION else 1 for each in text]
        return Segments("GSM-7", sum(widths), _parts(widths, _GSM_ALONE, _GSM_PART))
    widths = [2 if ord(each) > 0xFFFF else 1 for each in text]
    forcing = tuple((each, REPLACEMENTS.get(each, "")) for each in foreign)
    return Segments("UCS-2", sum(widths), _parts(widths, _UCS2_ALONE, _UCS2_PART), forcing)


def split(text: str) -> list[str]:
    """``text`` as the segments in which it travels; joined they are the text."""
    gsm = all(each in _BASIC or each in _EXTENSION for each in text)
    alone, part = (_GSM_ALONE, _GSM_PART) if gsm else (_UCS2_ALONE, _UCS2_PART)
    widths = [2 if (each in _EXTENSION if gsm else ord(each) > 0xFFFF) else 1 for each in text]
    if sum(widths) <= alone:
        return [text] if text else []
    found, room = [""], part
    for each, width in zip(text, widths, strict=True):
        if width > room:
            found.append("")
            room = part
        found[-1] += each
        room -= width
    return found


def _parts(widths: list[int], alone: int, part: int) -> int:
    if sum(widths) <= alone:
        return 1 if widths else 0
    count, room = 1, part
    for width in widths:
        if width > room:
            count, room = count + 1, part
        room -= width
    return count
