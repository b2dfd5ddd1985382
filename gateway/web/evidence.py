"""The evidence for one borrower as a ZIP: pages for people, events and words for the verifier, and the verifier.

``evidence.en.html`` and ``evidence.zh.html`` need no server and load nothing; a browser prints them or saves them as
PDF. gateway/evidence/borrower_file.py has what is in it.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from channels.profile import Profiles
from gateway.core.clock import Clock
from gateway.core.codec import ONE_CLICK, OWN_PAGE, REPLY
from gateway.evidence.borrower_file import BorrowerFile, read_borrower_file
from gateway.evidence.offline_verifier import FILES, dump, sum_line
from gateway.storage.database import Database
from gateway.web import translations
from gateway.web.page import environment
from gateway.web.sentences import place, timeline
from gateway.web.translations import PageTexts


class EvidenceArchives:
    """Makes the evidence for a borrower."""

    def __init__(self, database: Database, profiles: Profiles, clock: Clock) -> None:
        self._database = database
        self._texts = translations.load(profiles)
        self._clock = clock

    async def make(self, tenant: str, borrower_id: str) -> bytes | None:
        """The ZIP; None for an unknown borrower. Raises Unavailable."""
        record = await read_borrower_file(self._database, tenant, borrower_id)
        # In a thread: a page of many messages takes longer than an event loop may be kept waiting.
        return None if record is None else await asyncio.to_thread(archive, record, self._texts, self._clock())


def archive(record: BorrowerFile, texts: Mapping[str, PageTexts], now: datetime) -> bytes:
    """The files of the evidence as a ZIP."""
    files = evidence_files(record, texts, now)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(zipfile.ZipInfo(name, now.astimezone(UTC).timetuple()[:6]), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def evidence_files(record: BorrowerFile, texts: Mapping[str, PageTexts], now: datetime) -> dict[str, bytes]:
    """The content of each file, by name. ``texts``: of each language."""
    files = {
        "events.jsonl": record.events_file(),
        "heads.json": dump(dict(sorted(record.heads.items()))) + "\n",
        "verify.py": resources.files("gateway.evidence").joinpath("offline_verifier.py").read_text("utf-8"),
        "words.jsonl": record.words_file(),
        "verdicts.jsonl": record.verdicts_file(),
        **{f"evidence.{language}.html": _page(each, record, now) for language, each in texts.items()},
    }
    contents = {name: files[name].encode() for name in FILES}
    return contents | {"SHA256SUMS": b"".join(sum_line(name, contents[name]) + b"\n" for name in FILES)}


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
