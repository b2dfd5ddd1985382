"""The glossary of each tenant: the lender's words for its terms, which the checks of its templates ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, and_, select, update

from gateway.core.clock import Clock
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.tables.templates import glossaries
from gateway.templates.checks.findings import LintFinding
from gateway.templates.checks.glossary import GlossaryTerm, glossary_findings
from gateway.templates.versions.refusals import BadTerm, GlossaryChanged
from gateway.templates.workflow.translations import default_locale_of

# Our choice: more terms than a writer can know, in as many languages as templates have. A word is a phrase at most.
_MOST_TERMS, _MOST_LOCALES, _MOST_AVOIDED, _LONGEST = 200, 30, 20, 80
_ID = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z]{2})?")


@dataclass(frozen=True, slots=True)
class Glossary:
    """A tenant's terms. ``revision`` 0: none were ever saved."""

    revision: int
    terms: tuple[GlossaryTerm, ...]


class Glossaries:
    """The glossaries of all tenants. Methods may raise Unavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def read(self, tenant: str) -> Glossary:
        query = select(glossaries.c.revision, glossaries.c.terms).where(glossaries.c.tenant == tenant)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return Glossary(0, ()) if row is None else Glossary(row.revision, _terms(json.loads(row.terms)))

    async def save(self, tenant: str, revision: int, terms: Sequence[GlossaryTerm], actor: str) -> Glossary:
        """Replace the terms. Raises BadTerm, GlossaryChanged: it isn't at ``revision`` any more."""
        _check(terms)
        values: dict[str, Any] = {
            "revision": revision + 1,
            "terms": json.dumps([asdict(each) for each in terms], ensure_ascii=False),
            "updated_at": self._clock(),
            "updated_by": actor,
        }
        same = and_(glossaries.c.tenant == tenant, glossaries.c.revision == revision)

        def write(connection: Connection) -> bool:
            if revision == 0:
                added = insert_new(connection, glossaries).values(tenant=tenant, **values)
                return connection.execute(added.returning(glossaries.c.tenant)).first() is not None
            return connection.execute(update(glossaries).where(same).values(**values)).rowcount == 1

        if not await self._database.write(write):
            raise GlossaryChanged("somebody has saved the glossary since: read it again")
        return Glossary(revision + 1, tuple(terms))

    async def findings(self, tenant: str, template: str, files: Mapping[str, str]) -> list[LintFinding]:
        """What the tenant's terms say of a template's files."""
        terms = (await self.read(tenant)).terms
        return glossary_findings(template, files, default_locale_of(files), terms) if terms else []


def _terms(raw: Sequence[Mapping[str, Any]]) -> tuple[GlossaryTerm, ...]:
    return tuple(GlossaryTerm(each["id"], each["words"], each["avoid"]) for each in raw)


def _check(terms: Sequence[GlossaryTerm]) -> None:
    ids = [each.id for each in terms]
    if len(terms) > _MOST_TERMS or len(set(ids)) < len(ids):
        raise BadTerm(f"give each term once, and {_MOST_TERMS} at most")
    for each in terms:
        words = [*each.words.values(), *(word for some in each.avoid.values() for word in some)]
        locales = {*each.words, *each.avoid}
        if not _ID.fullmatch(each.id):
            raise BadTerm("the name of a term has lowercase letters, digits and hyphens, and starts with a letter")
        if not each.words or len(locales) > _MOST_LOCALES or not all(map(_LOCALE.fullmatch, locales)):
            raise BadTerm(f"{each.id}: give its words by languages, written like en or en-GB")
        if any(len(some) > _MOST_AVOIDED for some in each.avoid.values()):
            raise BadTerm(f"{each.id}: give at most {_MOST_AVOIDED} words to avoid in a language")
        if any(not word.strip() or len(word) > _LONGEST or not word.isprintable() for word in words):
            raise BadTerm(f"{each.id}: a word has one to {_LONGEST} characters, on one line")
