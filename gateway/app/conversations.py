"""Builds the services of conversations from the ledger, the templates and the path."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.app.pipeline import PathParts
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.conversations.free_text import FreeTextLint
from gateway.conversations.origin import Origins
from gateway.conversations.people import ConversationDesk
from gateway.conversations.reads import ConversationReads
from gateway.conversations.store import ConversationStore


@dataclass(frozen=True, slots=True)
class ConversationServices:
    """Conversations for persons and for the assistant."""

    store: ConversationStore
    reads: ConversationReads
    desk: ConversationDesk


def build_conversations(ledger: LedgerParts, templates: LoadedTemplates, path: PathParts) -> ConversationServices:
    """The services on one ledger."""
    database, clock = ledger.database, ledger.clock
    store = ConversationStore(database, clock)
    lint = FreeTextLint(templates.word_lists)
    desk = ConversationDesk(store, Origins(database), path.pipeline.accept, lint, clock)
    return ConversationServices(store, ConversationReads(database), desk)
