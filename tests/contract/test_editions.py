"""A template version's life in the ledger: legal moves only, a second person, one at a time, and nothing lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog import Catalog, Lender
from gateway.catalog.editing import Editing
from gateway.catalog.folder import Folder
from gateway.catalog.lint import Finding
from gateway.catalog.shelf import Shelf
from gateway.catalog.transfer import Transfer
from gateway.cli import evidence
from gateway.ledger.callers import Callers
from gateway.ledger.database import Database
from gateway.ledger.editions import Editions
from gateway.ledger.template_versions import TemplateVersions
from gateway.model import TemplateState
from tests.ledgers import NOW

TEMPLATES = Path(__file__).parents[2] / "templates"
FOLDER = Folder.read(TEMPLATES)
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
SMS = "en-US/sms.liquid"
HOUR = timedelta(hours=1)


class Clock:
    """It stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Any:
        return self.now


class Desk:
    """An editor's and an approver's gateway on one ledger; ``other`` is another process."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.versions = TemplateVersions(database)
        self.editions = Editions(database, self.clock)
        self.catalog = Catalog.load(TEMPLATES, lender=LENDER, versions=self.versions)
        self.other = Catalog.load(TEMPLATES, lender=LENDER, versions=self.versions)
        self.findings: list[Finding] = []
        shelf = Shelf(self.editions, self.catalog, FOLDER, lambda _: self.findings, Callers(database), self.clock)
        trials: Any = None  # nobody sends a test here
        self.editing = Editing(self.editions, self.catalog, shelf, trials, {}, self.clock)
        self.transfer = Transfer(self.editions, self.catalog, shelf)

    async def submitted(self, words: str = "new words", tenant: str = "acme") -> int:
        begun = await self.editing.begin(tenant, "overdue-first", "user:ann", "shorter")
        files = {**begun.files, SMS: f"{{{{ lender.name }}}}: {words}\n"}
        saved = await self.editing.save(tenant, "overdue-first", begun.number, 1, files, "user:ann")
        await self.editing.submit(tenant, "overdue-first", saved.number, 2, "user:ann", "please read")
        return saved.number

    async def approved(self, words: str = "new words", tenant: str = "acme") -> int:
        number = await self.submitted(words, tenant)
        await self.editing.approve(tenant, "overdue-first", number, "user:bob", "good")
        return number

    async def published(self, words: str = "new words", tenant: str = "acme") -> int:
        number = await self.approved(words, tenant)
        await self.editing.publish(tenant, "overdue-first", number, "user:bob", "go")
        return number

    def live(self, tenant: str = "acme", catalog: Catalog | None = None) -> str:
        return (catalog or self.catalog).resolve(tenant, "overdue-first", None, self.clock()).version

    async def state(self, number: int) -> TemplateState:
        return (await self.editions.text(("acme", "overdue-first", number))).edition.state


@pytest.fixture
def desk(database: Database) -> Desk:
    """Templates as shipped, and nobody has edited anything."""
    return Desk(database)


async def test_a_version_goes_from_draft_to_live(desk: Desk, database: Database) -> None:
    """Each step is recorded with its actor and comment, the chain of events holds, and requests get the new words."""
    before = desk.live()
    number = await desk.published()
    live = desk.catalog.resolve("acme", "overdue-first", None, NOW)
    assert live.version.startswith(f"e{number}-")
    assert live.version != before
    history = await desk.editing.history("acme", "overdue-first")
    assert [(each.kind, each.actor, each.comment) for each in history] == [
        ("template_begun", "user:ann", "shorter"),
        ("template_saved", "user:ann", ""),
        ("template_submitted", "user:ann", "please read"),
        ("template_approved", "user:bob", "good"),
        ("template_published", "user:bob", "go"),
    ]
    assert history[1].detail == {"revision": 2, "changed": [SMS]}
    assert (await evidence.verify(database)).broken == []
