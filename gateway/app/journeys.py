"""Builds the services of cases and journeys from the ledger, the templates and the path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.app.pipeline import PathParts
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.core.clock import Clock
from gateway.core.errors import UnknownTemplate
from gateway.core.journey_events import JourneyReview, StepResult
from gateway.journeys.acts import JourneyActs
from gateway.journeys.cases.store import CaseStore
from gateway.journeys.deciding import PathServices
from gateway.journeys.definitions.findings import JourneyFinding
from gateway.journeys.definitions.lint import FindTemplate, TemplateFacts, lint
from gateway.journeys.definitions.migration import JourneyMigration
from gateway.journeys.definitions.model import JourneyDefinition
from gateway.journeys.definitions.store import JourneyDefinitions, Lint
from gateway.journeys.history import JourneyEvent
from gateway.journeys.reads import JourneyReads
from gateway.journeys.runner import JourneyRunner
from gateway.journeys.store import JourneyStore
from gateway.observability.metrics import Metrics
from gateway.policy import Packs
from gateway.templates import Catalog


@dataclass(frozen=True, slots=True)
class JourneyServices:
    """Cases as they are fed, and the journeys that they go through."""

    cases: CaseStore
    definitions: JourneyDefinitions
    runner: JourneyRunner
    acts: JourneyActs
    reads: JourneyReads
    migration: JourneyMigration


def build_journeys(ledger: LedgerParts, templates: LoadedTemplates, path: PathParts) -> JourneyServices:
    """The services on one ledger."""
    database, clock, catalog = ledger.database, ledger.clock, templates.catalog

    def variables(tenant: str, template: str) -> Collection[str]:
        return catalog.resolve(tenant, template, None, clock()).variables

    services = PathServices(path.pipeline.accept, path.borrowers.cancel, variables)
    store, observe = JourneyStore(database), partial(count_events, path.metrics)
    definitions = JourneyDefinitions(database, linter(catalog, templates.packs, clock), clock)
    return JourneyServices(
        CaseStore(database, ledger.signer.digest, clock),
        definitions,
        JourneyRunner(store, services, clock, observe),
        JourneyActs(store, services, templates.packs, clock, observe),
        JourneyReads(database),
        JourneyMigration(store, definitions, clock),
    )


def count_events(metrics: Metrics, events: Sequence[JourneyEvent]) -> None:
    """Count what happened to journeys, by the events that were written of it."""
    for event in events:
        match event.kind:
            case "journey.entered":
                metrics.journey_entered()
            case "journey.exited":
                metrics.journey_exited(event.reason)
            case "journey.step" | "journey_step":  # the reminder of a promise has no result of its own
                metrics.journey_step(event.detail.get("result", StepResult.SENT))
            case "journey_set_aside":
                metrics.journey_set_aside(event.reason)
            case "case.gate_lapsed":
                metrics.journey_set_aside(JourneyReview.GATE_LAPSED)


def linter(catalog: Catalog, packs: Packs, clock: Clock) -> Lint:
    """(tenant, definition) → findings, by the tenant's live templates and the packs in force."""

    def check(tenant: str, definition: JourneyDefinition) -> list[JourneyFinding]:
        return lint(definition, template_facts(catalog, tenant, clock), packs, clock())

    return check


def template_facts(catalog: Catalog, tenant: str, clock: Clock) -> FindTemplate:
    """What the lint has to know of a tenant's live template; None where there is no such one."""

    def find(name: str) -> TemplateFacts | None:
        try:
            found = catalog.resolve(tenant, name, None, clock()) if name else None
        except UnknownTemplate:
            return None
        if found is None:
            return None
        return TemplateFacts(found.category, found.channels, found.locales, found.must_arrive)

    return find
