"""Builds the services of conversations from the ledger, the templates and the path."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.app.embedded.errors import CannotStart
from gateway.app.journeys import JourneyServices
from gateway.app.pipeline import PathParts
from gateway.app.stages import build_classifier
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.conversations.assistant import Assistant, AssistantParts
from gateway.conversations.case_system import CaseSystem
from gateway.conversations.follow_ups import FollowUps
from gateway.conversations.free_text import FreeTextLint
from gateway.conversations.origin import Origins
from gateway.conversations.people import ConversationDesk
from gateway.conversations.reads import ConversationReads
from gateway.conversations.reply_model import ReplyModelReader, open_model
from gateway.conversations.report import AssistantReports
from gateway.conversations.store import ConversationStore
from gateway.conversations.suggestions import Suggestions
from gateway.conversations.verification import OneTimeLinks


@dataclass(frozen=True, slots=True)
class ConversationServices:
    """Conversations for persons and for the assistant."""

    store: ConversationStore
    reads: ConversationReads
    desk: ConversationDesk
    links: OneTimeLinks
    case_system: CaseSystem
    suggestions: Suggestions
    reports: AssistantReports
    assistant: Assistant


def build_conversations(
    ledger: LedgerParts, templates: LoadedTemplates, path: PathParts, journeys: JourneyServices
) -> ConversationServices:
    """The services on one ledger."""
    database, clock, catalog = ledger.database, ledger.clock, templates.catalog
    store, origins = ConversationStore(database, clock), Origins(database)
    desk = ConversationDesk(store, origins, path.pipeline.accept, FreeTextLint(templates.word_lists), clock)
    url, digest, observe = ledger.settings.effective_public_url, ledger.signer.code_digest, path.metrics.verification
    links = OneTimeLinks(database, store, url, digest, observe, clock)

    def variables(tenant: str, template: str) -> Collection[str]:
        return catalog.resolve(tenant, template, None, clock()).variables

    parts = AssistantParts(
        store,
        origins,
        links,
        FollowUps(journeys.cases, path.borrowers, journeys.acts, clock),
        path.pipeline.accept,
        path.borrowers.cancel,
        variables,
        build_classifier(ledger, templates).classify,
        templates.answers,
        path.metrics.assistant_decided,
        templates.borrower_pages.named_in_replies,
        _model(ledger, path),
    )
    assistant = Assistant(parts, ledger.settings.assistant, clock)
    case_system = CaseSystem(ledger.settings.assistant, lambda identifier: ledger.signer.webhook_secret(identifier, 1))
    suggestions = Suggestions(catalog, templates.notes, clock)
    reports = AssistantReports(database)
    reads = ConversationReads(database)
    return ConversationServices(store, reads, desk, links, case_system, suggestions, reports, assistant)


def _model(ledger: LedgerParts, path: PathParts) -> ReplyModelReader | None:
    settings = ledger.settings.reply_model
    try:
        return open_model(settings, observe=path.metrics.reply_model_answered) if settings is not None else None
    except ValueError as error:
        raise CannotStart(str(error)) from error
