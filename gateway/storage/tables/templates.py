"""The tables of templates, their versions, glossaries, and what providers hold of them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from gateway.storage.tables.columns import Instant, metadata

# Every template version that a request may be pinned to, with all that its rendering depends on.
template_versions = Table(
    "template_versions",
    metadata,
    Column("id", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("found_good", String(64), nullable=False, server_default=""),  # see gateway/templates/validation_cache.py
    PrimaryKeyConstraint("id", "version"),
)


# A tenant's own texts of one template: which version is live, and the head of its chain of events.
templates = Table(
    "templates",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("id", String(64), nullable=False),
    Column("numbers", Integer, nullable=False, server_default="0"),  # how many versions there have been
    Column("stamp", BigInteger, nullable=False, server_default="0"),  # moves on, over all, when what is live changes
    Column("event_hash", String(64), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "id"),
    Index("templates_by_stamp", "stamp"),
)


# A tenant's version of a template, from draft to its end. Only a draft's text can change; a trigger holds that.
template_editions = Table(
    "template_editions",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("template", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False),  # of the draft: moves on with every save
    Column("version", String(64), nullable=False, server_default=""),  # what requests are pinned to; "": a draft
    Column("files", Text, nullable=False),  # JSON: "en-US/sms.liquid" → text, as in templates/<id>/
    Column("source", Text, nullable=False, server_default=""),  # as compiled, with the fragments of its submission
    Column("based_on", String(64), nullable=False, server_default=""),  # the version that was live when it was begun
    Column("replaced", Integer, nullable=False, server_default="0"),  # the number that was live before it; 0: default
    Column("editors", Text, nullable=False),  # JSON: everyone who wrote in it
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("updated_by", String(80), nullable=False),
    Column("submitted_by", String(80), nullable=False, server_default=""),
    Column("approved_by", String(80), nullable=False, server_default=""),
    Column("publish_at", Instant),
    Column("published_at", Instant),
    PrimaryKeyConstraint("tenant", "template", "number"),
    CheckConstraint("approved_by = '' OR approved_by != submitted_by", name="a_second_person"),
    *(
        Index(
            f"one_{state}_edition",
            "tenant",
            "template",
            unique=True,
            sqlite_where=text(f"state = '{state}'"),
            postgresql_where=text(f"state = '{state}'"),
        )
        for state in ("draft", "scheduled", "published")
    ),
    Index("template_editions_by_version", "tenant", "template", "version"),
)


# A lender's words for its terms, which the checks of its templates ask for.
glossaries = Table(
    "glossaries",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("terms", Text, nullable=False),  # JSON: [{"id", "words", "avoid"}]
    Column("updated_at", Instant, nullable=False),
    Column("updated_by", String(80), nullable=False),
)


# Templates as their providers hold and approve them. The texts name no person.
provider_templates = Table(
    "provider_templates",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("template", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("locale", String(16), nullable=False),
    Column("reference", String(128), nullable=False),  # the provider's name or id of it
    Column("language", String(32), nullable=False),
    Column("approved_text", Text, nullable=False),
    Column("slots", Text, nullable=False),  # JSON: [{"name", "expression", "longest"}]
    Column("ttl_seconds", Integer),
    Column("status", String(16), nullable=False),
    Column("reason", String(120), nullable=False, server_default=""),
    Column("seen_at", Instant, nullable=False),
    PrimaryKeyConstraint("tenant", "provider", "template", "version", "locale"),
    Index("provider_templates_by_reference", "provider", "reference"),
)
