"""The evidence's page as a PDF, for whoever files paper: the same sentences, words and rules as the HTML.

Made with fpdf2, which embeds the glyphs that are used. It needs a font that has Chinese: the one that the settings
name, one of the operating system's, or that of the extra ``pdf``. Without one the PDF has a page that says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.evidence.borrower_file import BorrowerFile
from gateway.web.desk.sentences import TimelineEntry, place
from gateway.web.translations import PageTexts

if TYPE_CHECKING:
    from fpdf import FPDF

# Where Debian's packages fonts-noto-cjk and fonts-wqy-microhei put theirs, and the package of the extra ``pdf``.
_SYSTEM_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
)
_PACKAGE, _PACKAGED = "cvttf_NotoSansCJK_Regular", "NotoSansCJKtc-Regular.otf"
_MOST_ENTRIES = 2_000  # of a timeline; our choice: some 300 pages. The HTML has all.
_TITLE, _HEADING, _TEXT, _SMALL = 16, 13, 10, 8  # points
_INK, _GREY, _SUNKEN = (27, 31, 39), (85, 93, 107), (238, 240, 244)
_INDENT, _GAP = 6, 3  # millimetres
# What has no glyph, and would be a box: line separators end a line, other controls are left out.
_CONTROLS = {**dict.fromkeys((*range(32), *range(127, 160))), 9: " ", 10: "\n", 0x2028: "\n", 0x2029: "\n"}


def find_font(chosen: Path | None = None) -> Path | None:
    """A font file with Chinese characters: the chosen one, else the first that is installed; None where none is."""
    spec = find_spec(_PACKAGE)
    packaged = [Path(each) / _PACKAGED for each in (spec.submodule_search_locations or ())] if spec else []
    candidates = [*([chosen] if chosen else ()), *map(Path, _SYSTEM_FONTS), *packaged]
    return next((each for each in candidates if each.is_file()), None)


def pdf(
    t: PageTexts, record: BorrowerFile, entries: Sequence[TimelineEntry], now: datetime, font: Path | None
) -> bytes | None:
    """The PDF; None where fpdf2, which is of the extra ``pdf``, is not installed."""
    if find_spec("fpdf") is None:
        return None
    from fpdf import FPDF

    # It logs each character that the font lacks, and these are of messages.
    logging.getLogger("fpdf").setLevel(logging.ERROR)
    document = FPDF()
    document.set_creation_date(now)
    document.set_title(t("evidence_title") if font else "Evidence")
    document.set_lang("zh-Hans" if t.language == "zh" else "en")
    document.add_page()
    if font is None:
        document.set_font("helvetica", size=_TEXT)
        document.multi_cell(0, text=_NO_FONT.format(language=t.language))
    else:
        document.add_font("text", fname=font)
        _Writer(document, t).write(record, entries, now)
    return bytes(document.output())


# In English alone: the fonts that every PDF reader has know no Chinese.
_NO_FONT = (
    "No font with Chinese characters was found when this was made, so it does not show the evidence.\n\n"
    "Read evidence.{language}.html, which is in the same archive and says all of it; a browser prints it.\n\n"
    "To have the PDF: install Debian's package fonts-noto-cjk, or name a font file in GATEWAY_PDF_FONT."
)


class _Writer:
    """Writes paragraphs, one below the other."""

    def __init__(self, document: FPDF, t: PageTexts) -> None:
        self._document = document
        self._t = t

    def write(self, record: BorrowerFile, entries: Sequence[TimelineEntry], now: datetime) -> None:
        t = self._t
        self._paragraph(t("evidence_title"), _TITLE)
        named = {"time": t.when(now), "tenant": record.tenant, "borrower": record.borrower_id}
        self._paragraph(t("evidence_lead", place=place(t, record.zone), **named))
        if record.name:
            self._paragraph(t("evidence_borrower_name", name=record.name))
        self._paragraph(t("evidence_check"))
        self._paragraph(t("evidence_pdf", language=t.language), _SMALL, _GREY)
        self._heading(t("evidence_timeline"))
        for each in entries[:_MOST_ENTRIES]:
            self._entry(each)
        if len(entries) > _MOST_ENTRIES:
            self._paragraph(t("evidence_pdf_more", number=len(entries) - _MOST_ENTRIES, language=t.language))
        self._heading(t("evidence_heads"))
        self._paragraph(t("evidence_heads_what"))
        for subject, value in sorted(record.heads.items()):
            self._paragraph(f"{subject}\n{value}", _SMALL)

    def _heading(self, text: str) -> None:
        self._document.ln(2 * _GAP)
        self._paragraph(text, _HEADING)

    def _entry(self, entry: TimelineEntry) -> None:
        t = self._t
        self._document.ln(_GAP)
        self._paragraph(entry.sentence, _TEXT + 1)
        about = [entry.local, entry.utc, t("evidence_by", who=entry.by)]
        about += [t("evidence_case", case=entry.case_id)] if entry.case_id else []
        self._paragraph(" · ".join(about), _SMALL, _GREY)
        if entry.words:
            if entry.words.get("subject"):
                self._paragraph(f"{t('evidence_subject_line')}: {entry.words['subject']}", _SMALL, _GREY)
            self._paragraph(str(entry.words["text"]), indent=_INDENT, fill=True)
            if call := entry.words.get("template"):
                parameters = "".join(f"\n{name}: {value}" for name, value in call["parameters"])
                named = {"reference": call["reference"], "language": call["language"]}
                self._paragraph(t("evidence_parameters", **named) + parameters, _SMALL, indent=_INDENT)
        elif entry.words_missing:
            self._paragraph(t("evidence_words_missing"), _SMALL, _GREY)
        if entry.template:
            self._paragraph(entry.template, _SMALL, _GREY)
        if entry.rules:
            rules = [f"{each.name}: {each.said} {each.detail} ({each.authority}; {each.pack})" for each in entry.rules]
            lines = "\n".join([t("evidence_rules", number=len(rules)), *rules])
            self._paragraph(lines, _SMALL, _GREY, indent=_INDENT)

    def _paragraph(
        self,
        text: str,
        size: int = _TEXT,
        colour: tuple[int, int, int] = _INK,
        *,
        indent: float = 0,
        fill: bool = False,
    ) -> None:
        document = self._document
        document.set_font("text", size=size)
        document.set_text_color(*colour)
        document.set_fill_color(*_SUNKEN)
        document.set_x(document.l_margin + indent)
        document.multi_cell(0, text=text.translate(_CONTROLS), align="L", fill=fill, new_x="LMARGIN", new_y="NEXT")
        document.ln(1.5 if size > _SMALL else 1)
