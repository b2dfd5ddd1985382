"""An editor's harness for tests: the catalogue's verbs on a real ledger, and a second process beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from channels.base import Provider
from channels.profile import Profiles
from gateway.core.states import TemplateState
from gateway.observability.metrics import Metrics
from gateway.storage.database import Database
from gateway.templates import Catalog, Lender
from gateway.templates.checks.lint import LintFinding
from gateway.templates.folder import Folder
from gateway.templates.message_forms import MessageForms
from gateway.templates.repository import TemplateRepository
from gateway.templates.versions.callers import Callers
from gateway.templates.versions.published_store import PublishedVersions
from gateway.templates.versions.versions_store import VersionStore
from gateway.templates.workflow.carry_over import CarryOver
from gateway.templates.workflow.glossaries import Glossaries
from gateway.templates.workflow.provider_templates import ProviderTemplates
from gateway.templates.workflow.publication_watcher import PublicationWatcher
from gateway.templates.workflow.results import ResultCounts
from gateway.templates.workflow.reviews import TemplateReviews
from gateway.templates.workflow.template_results import TemplateResults
from gateway.templates.workflow.transfer import Transfer
from gateway.templates.workflow.workflow import TemplateWorkflow
from tests.support.providers.channel_profiles import PROFILES
from tests.support.storage.ledgers import NOW, draft

TEMPLATES = Path(__file__).parents[3] / "templates"
FOLDER = Folder.read(TEMPLATES)
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
SMS = "en-US/sms.liquid"
TEMPLATE = "overdue-first"
AMERICAN = replace(draft("k").notification.borrower, locale="en-US", jurisdiction="us")


class Clock:
    """It stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def started_again(versions: PublishedVersions | None = None, profiles: Profiles = PROFILES) -> Catalog:
    """The catalogue of a process whose templates were found valid at an earlier start: it compiles what is used."""
    return Catalog(FOLDER.sources(), LENDER, profiles, versions, is_valid=lambda _: True)


class TemplateHarness:
    """``other`` is the catalogue of another process, which ``watcher`` keeps up to date. Nothing is found by lint
    but ``findings``.
    """

    def __init__(
        self,
        database: Database,
        profiles: Profiles = PROFILES,
        providers: Mapping[str, Provider] = MappingProxyType({}),
    ) -> None:
        self.clock = Clock()
        self.published_versions = PublishedVersions(database)
        self.store = VersionStore(database, self.clock)
        self.catalog = started_again(self.published_versions, profiles)
        self.other = started_again(self.published_versions)
        self.findings: list[LintFinding] = []
        repository = TemplateRepository(
            self.store, self.catalog, FOLDER, lambda _: self.findings, Callers(database), self.clock
        )
        self.glossaries = Glossaries(database, self.clock)
        reviews = TemplateReviews(self.store, repository, self.glossaries)
        test_sender: Any = None  # nobody sends a test here
        forms = MessageForms(database, self.catalog.profiles, self.catalog, self.clock, {})
        self.provider_templates = ProviderTemplates(self.store, repository, forms, providers, self.catalog.profiles)
        carry_over = CarryOver(self.store, repository, forms, providers, self.catalog.profiles)
        self.workflow = TemplateWorkflow(
            *(self.store, self.catalog, repository, test_sender, {}, self.clock),
            *(self.provider_templates, carry_over, reviews, self.glossaries),
        )
        self.results = TemplateResults(repository, ResultCounts(database), {}, self.clock)
        self.transfer = Transfer(self.store, self.catalog, repository, carry_over)
        self.metrics = Metrics(["sms"], [("sms", "a")], [each.id for each in self.other.live()])
        self.watcher = PublicationWatcher(self.other, self.store, self.metrics, self.clock)

    async def submitted(self, words: str = "new words", tenant: str = "acme") -> int:
        begun = await self.workflow.begin(tenant, TEMPLATE, "user:ann", "shorter")
        files = {**begun.files, SMS: f"{{{{ lender.name }}}}: {words}\n"}
        saved = await self.workflow.save(tenant, TEMPLATE, begun.number, 1, files, "user:ann")
        assert saved.stored is not None
        await self.workflow.submit(tenant, TEMPLATE, saved.number, saved.stored.revision, "user:ann", "please read")
        return saved.number

    async def approved(self, words: str = "new words", tenant: str = "acme") -> int:
        number = await self.submitted(words, tenant)
        await self.workflow.approve(tenant, TEMPLATE, number, "user:bob", "good")
        return number

    async def published(self, words: str = "new words", tenant: str = "acme") -> int:
        number = await self.approved(words, tenant)
        await self.workflow.publish(tenant, TEMPLATE, number, "user:bob", "go", confirmed=True)
        return number

    def live(self, tenant: str = "acme", catalog: Catalog | None = None) -> str:
        return (catalog or self.catalog).resolve(tenant, TEMPLATE, None, self.clock()).version

    async def state(self, number: int) -> TemplateState:
        return (await self.store.text(("acme", TEMPLATE, number))).stored.state
