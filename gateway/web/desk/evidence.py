"""The evidence for one borrower as a ZIP: pages for people, events and words for the verifier, and the verifier.

``evidence.en.html`` and ``evidence.zh.html`` need no server and load nothing; the same as PDF is beside them where the
extra ``pdf`` is installed. gateway/evidence/borrower_file.py has what is in it.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from channels.profile import Profiles
from gateway.core.clock import Clock
from gateway.core.codec import ONE_CLICK, OWN_PAGE, REPLY
from gateway.evidence.borrower_file import BorrowerFile, read_borrower_file
from gateway.evidence.offline_verifier import FILES, PDFS, dump, sum_line
from gateway.storage.database import Database
from gateway.web import translations
from gateway.web.desk.evidence_pdf import find_font, pdf
from gateway.web.desk.sentences import place, timeline
from gateway.web.page import environment
from gateway.web.translations import PageTexts


class EvidenceArchives:
    """Makes the evidence for a borrower."""

    def __init__(self, database: Database, profiles: Profiles, clock: Clock, font: Path | None = None) -> None:
        """``font``: the file that PDFs are set in; None: one with Chinese characters that is installed."""
        self._database = database
        self._texts = translations.load(profiles)
        self._clock = clock
        self._font = font

    async def make(self, tenant: str, borrower_id: str) -> bytes | None:
        """The ZIP; None for an unknown borrower. Raises Unavailable."""
        record = await read_borrower_file(self._database, tenant, borrower_id)
        if record is None:
            return None
        # In a thread: a page of many messages takes longer than an event loop may be kept waiting.
        return await asyncio.to_thread(archive, record, self._texts, self._clock(), find_font(self._font))


def archive(record: BorrowerFile, texts: Mapping[str, PageTexts], now: datetime, font: Path | None) -> bytes:
    """The files of the evidence as a ZIP."""
    files = evidence_files(record, texts, now, evidence_pdfs(record, texts, now, font))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(zipfile.ZipInfo(name, now.astimezone(UTC).timetuple()[:6]), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def evidence_pdfs(
    record: BorrowerFile, texts: Mapping[str, PageTexts], now: datetime, font: Path | None
) -> dict[str, bytes]:
    """The pages as PDF, by name; none where the library is not installed. ``texts``: of each language."""
    made = {
        f"evidence.{language}.pdf": pdf(t, record, timeline(t, record, actor_names(t, record)), now, font)
        for language, t in texts.items()
    }
    return {name: content for name, content in made.items() if content is not None}


def evidence_files(
    record: BorrowerFile,
    texts: Mapping[str, PageTexts],
    now: datetime,
    pdfs: Mapping[str, bytes] = MappingProxyType({}),
) -> dict[str, bytes]:
    """The content of each file, by name. ``texts``: of each language."""
    files = {
        "events.jsonl": record.events_file(),
        "heads.json": dump(dict(sorted(record.heads.items()))) + "\n",
        "verify.py": resources.files("gateway.evidence").joinpath("offline_verifier.py").read_text("utf-8"),
        "words.jsonl": record.words_file(),
        "verdicts.jsonl": record.verdicts_file(),
        **{f"evidence.{language}.html": _page(each, record, now) for language, each in texts.items()},
    }
    contents = {name: files[name].encode() for name in FILES} | {name: pdfs[name] for name in PDFS if name in pdfs}
    return contents | {"SHA256SUMS": b"".join(sum_line(*each) + b"\n" for each in contents.items())}


def actor_names(t: PageTexts, record: BorrowerFile) -> Callable[[str], str]:
    """A function from an actor to its display name: a colleague's name, or an API key's id."""

    def who(actor: str) -> str:
        kind, _, identifier = actor.partition(":")
        if actor == "gateway":
            return t("by_gateway")
        if actor in (REPLY, OWN_PAGE, ONE_CLICK):
            return t("by_borrower")
        return t("by_key", id=identifier) if kind == "key" else record.names.get(actor, actor)

    return who


def _page(t: PageTexts, record: BorrowerFile, now: datetime) -> str:
    values: dict[str, Any] = {
        "record": record,
        "made": t.when(now),
        "place": place(t, record.zone),
        "entries": timeline(t, record, actor_names(t, record)),
        "language": t.language,
        "languages": translations.LANGUAGES,
    }
    return environment("offline").get_template("evidence.html").render(t=t, **values)
