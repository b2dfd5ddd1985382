"""The ledger's tables, all of them, by their metadata. SQL is the truth; everything else can be rebuilt from here."""

from __future__ import annotations

from gateway.storage.tables import (  # each registers its tables
    borrowers,
    conversations,
    identity,
    journeys,
    operations,
    path,
    retention,
    templates,
    webhooks,
)
from gateway.storage.tables.columns import metadata

__all__ = [
    "borrowers",
    "conversations",
    "identity",
    "journeys",
    "metadata",
    "operations",
    "path",
    "retention",
    "templates",
    "webhooks",
]
