"""The ledger's tables. SQL is the truth; everything else can be rebuilt from here.

Instants are stored as whole microseconds since 1970 in UTC (a BIGINT): exact, ordered and the same on
SQLite and PostgreSQL. ``Instant`` turns them into aware datetimes on the way out.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from gateway.storage.body_compression import RequestBody

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(value: datetime) -> int:
    """An instant as it is stored."""
    return (value - _EPOCH) // _MICROSECOND


def instant_of(stored: int) -> datetime:
    """What is stored, as an aware datetime."""
    return _EPOCH + timedelta(microseconds=stored)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else instant_of(value)


metadata = MetaData()

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("idempotency_key", String(255), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("dedup_key", String(255), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("case_id", String(128), nullable=False),
    Column("stage", String(64), nullable=False),
    Column("category", String(16), nullable=False),
    Column("template", String(64), nullable=False),
    Column("template_version", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("defer_until", Instant),
    Column("duplicate_of", String(48)),
    Column("step", Integer, nullable=False),  # the last route step that was opened; -1: none
    Column("stopped", String(40), nullable=False, server_default=""),  # why no further step is opened; "": it may be
    Column("accepted_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("updated_at", Instant, nullable=False),
    Column("event_hash", String(64), nullable=False, server_default=""),  # head of this notification's chain
    Column("body", Text, nullable=False),  # the request as accepted (JSON); "": it is in request_bodies
    Column("client", String(80), nullable=False, server_default=""),  # the key it came by
    # The state, where it is one that is looked for; else "". A trigger sets it.
    Column("attention", String(16), nullable=False, server_default=""),
    UniqueConstraint("tenant", "idempotency_key", name="one_per_idempotency_key"),
    Index("notifications_by_borrower", "tenant", "borrower_id", "id"),
    Index("notifications_by_case", "tenant", "case_id", "id"),
    Index(
        "notifications_attention",
        "tenant",
        "attention",
        "id",
        sqlite_where=text("attention != ''"),
        postgresql_where=text("attention != ''"),
    ),
    Index(
        "notifications_by_client",
        "tenant",
        "template",
        "client",
        "id",
        sqlite_where=text("client != ''"),
        postgresql_where=text("client != ''"),
    ),
)

# The requests as accepted: apart from the rows that change with every step, which would carry them along each time.
request_bodies = Table(
    "request_bodies",
    metadata,
    Column("notification_id", String(48), primary_key=True),
    Column("body", RequestBody, nullable=False),
)

# Who owns a meaning (borrower + case + stage + due date): the first request that has not come to nothing.
dedup_claims = Table(
    "dedup_claims",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("dedup_key", String(255), nullable=False),
    Column("notification_id", String(48), nullable=False),
    PrimaryKeyConstraint("tenant", "dedup_key"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("notification_id", String(48), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("case_id", String(128), nullable=False),
    Column("step", Integer, nullable=False),
    Column("channel", String(32), nullable=False),
    Column("address_digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("provider", String(64), nullable=False, server_default=""),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    Column("due_at", Instant),  # when something is to be done next; NULL: nothing more
    Column("lease_until", Instant),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("contacted_at", Instant),  # counts as a contact from then on; NULL: it did not reach anyone
    Column("sent_at", Instant),
    Column("escalate_at", Instant),  # go on to the next step if its goal is not reached by then
    Column("receipt_by", Instant),  # give up waiting for a receipt then
    Column("read_at", Instant),
    Column("approved", String(40), nullable=False, server_default=""),  # the review reason that a person approved
    Column("resent", Integer, nullable=False, server_default="0"),
    Column("paused", String(48), nullable=False, server_default=""),  # the switch that holds it up
    Column("tries", Integer, nullable=False, server_default="0"),  # failed attempts that count towards giving up
    Column("failures_only", Integer, nullable=False, server_default="0"),  # silence means that it arrived
    Column("created_at", Instant, nullable=False),
    Column("receipts", Text, nullable=False, server_default=""),  # marks of those that were taken, space-separated
    Column("attention", String(16), nullable=False, server_default=""),  # as in notifications
    # PostgreSQL rewrites a row in place (HOT) only where no column of any index has changed, nor one of its condition:
    # so there is none on the state, and what does change with each step is in as few as can be.
    UniqueConstraint("notification_id", "step", name="one_delivery_per_step"),
    Index(
        "deliveries_due",
        "due_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index(
        "deliveries_by_message",
        "provider_message_id",
        sqlite_where=text("provider_message_id != ''"),
        postgresql_where=text("provider_message_id != ''"),
    ),
    Index("deliveries_by_borrower", "tenant", "borrower_id"),
    Index("deliveries_by_address", "address_digest"),
    Index(
        "deliveries_attention",
        "attention",
        "tenant",
        "id",
        sqlite_where=text("attention != ''"),
        postgresql_where=text("attention != ''"),
    ),
    Index(
        "deliveries_paused",
        "paused",
        sqlite_where=text("paused != ''"),
        postgresql_where=text("paused != ''"),
    ),
)

# What an operator has stopped or pinned, and who, why and until when. Ended ones stay, as evidence.
switches = Table(
    "switches",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("value", String(64), nullable=False, server_default=""),
    Column("tenant", String(64), nullable=False, server_default=""),  # "": every tenant
    Column("reason", String(500), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant),
    Column("ended_at", Instant),
    Column("ended_by", String(80), nullable=False, server_default=""),
    Index(
        "switches_in_force",
        "id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", String(48), nullable=False),
    Column("number", Integer, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("outcome", String(16), nullable=False, server_default="started"),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("code", String(40), nullable=False, server_default=""),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    PrimaryKeyConstraint("delivery_id", "number"),
)

# The words that each attempt handed over (gateway/storage/messages.py).
messages = Table(
    "messages",
    metadata,
    Column("delivery_id", String(48), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("delivery_id", "attempt"),
    sqlite_with_rowid=False,  # else SQLite stores the key a second time, as an index
)

# Append-only (triggers refuse UPDATE and DELETE), chained by hash per subject.
events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(255), nullable=False),  # see gateway/storage/events.py; the longest has 202 characters
    Column("borrower_id", String(128), nullable=False),
    Column("delivery_id", String(48)),
    Column("at", Instant, nullable=False),
    Column("local_at", String(40), nullable=False, server_default=""),  # in the borrower's first zone
    Column("kind", String(40), nullable=False),
    Column("state", String(16), nullable=False, server_default=""),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("actor", String(80), nullable=False),
    Column("detail", Text, nullable=False, server_default="{}"),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    # Without seq: a subject's entries are equal then, and PostgreSQL keeps them as one (deduplication of B-trees).
    Index("events_of_subject", "subject"),
    Index(
        "events_of_admins",
        "subject",
        "seq",
        sqlite_where=text("kind = 'admin_act'"),
        postgresql_where=text("kind = 'admin_act'"),
    ),
    Index("events_by_borrower", "tenant", "borrower_id", "seq"),
)

# Verdicts without the figures of the single event (gateway/storage/verdicts.py), under the hash of the text. Never
# removed: a few rows for each version of a policy pack.
verdicts = Table(
    "verdicts",
    metadata,
    Column("digest", String(43), primary_key=True),
    Column("text", Text, nullable=False),
)

# One row per borrower: what has been said of them, and a version that every such change and contact moves on.
borrowers = Table(
    "borrowers",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("id", String(128), nullable=False),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("holds", Text, nullable=False, server_default="[]"),
    Column("opt_outs", Text, nullable=False, server_default="[]"),
    Column("consents", String(80), nullable=False, server_default=""),
    Column("channel_consents", Text, nullable=False, server_default=""),  # words: channel:category
    Column("stated", Text, nullable=False, server_default="{}"),  # zones and hours, as the latest request said them
    Column("chosen", Text, nullable=False, server_default="{}"),  # hours and language, as the borrower chose them
    Column("proposals", Text, nullable=False, server_default="[]"),  # acts that a second person is to decide
    Column("event_hash", String(64), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "id"),
)

# What is known of an address by itself, whoever it is written for. ``suppressed`` is why it must not be used.
addresses = Table(
    "addresses",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("suppressed", String(40), nullable=False, server_default=""),
    Column("suppressed_at", Instant),
    Column("confirmed_at", Instant),  # the borrower wrote from it
    # Opted out by whoever uses the address, from the one instant until the other, or still where that is NULL.
    Column("opted_out_at", Instant),
    Column("opted_in_at", Instant),
    Column("opt_out_source", String(80), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "channel", "digest"),
    Index("addresses_by_digest", "tenant", "digest"),
)

# Borrowers' own words, each once. The text is personal data and stays here; events carry what it was taken for.
replies = Table(
    "replies",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("digest", String(64), nullable=False),  # of provider, message and borrower: the same message comes again
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("delivery_id", String(48), nullable=False),  # the latest message at that address, taken as answered
    Column("channel", String(32), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    Column("intent", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("intents", String(255), nullable=False, server_default=""),  # all that it says, the most serious first
    Column("urgency", Integer, nullable=False, server_default="0"),  # of the review; 0: it needs none
    Column("review_by", Instant),
    Column("understood_by", String(64), nullable=False, server_default=""),  # version of the rules and weights
    Column("resolved_at", Instant),  # a person has decided what follows
    Column("conversation_id", String(48), nullable=False, server_default=""),  # "": a version before recorded it
    UniqueConstraint("digest", name="one_per_message"),
    Index(
        "replies_unresolved",
        "tenant",
        "id",
        sqlite_where=text("(urgency > 0 OR intent = 'maybe_stop') AND resolved_at IS NULL"),
        postgresql_where=text("(urgency > 0 OR intent = 'maybe_stop') AND resolved_at IS NULL"),
    ),
    Index("replies_by_borrower", "tenant", "borrower_id", "id"),
)

# Reports that name no message by a reference that was signed here; a person decides whom each is about. ``original`` is
# the mail as it came (zlib, RFC 1950), ``text`` what the person reads of it; both are personal data, and are erased.
unverified_reports = Table(
    "unverified_reports",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("digest", String(64), nullable=False),  # of provider and mail: the same mail comes again
    Column("tenant", String(64), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("urgency", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("original", LargeBinary, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("resolved_at", Instant),  # a person has decided
    Column("borrower_id", String(128), nullable=False, server_default=""),  # whom it is about, as the person decided
    UniqueConstraint("digest", name="one_per_report"),
    Index("unverified_reports_by_tenant", "tenant", "reason", "received_at"),
    Index(
        "unverified_reports_unresolved",
        "tenant",
        "reason",
        "id",
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
)

cases = Table(
    "cases",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("id", String(128), nullable=False),
    Column("closed_at", Instant),
    Column("closed_reason", String(40), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "id"),
)

# Provider callbacks that matched no delivery yet wait here. Those that match one at once leave an event of its chain
# and a mark in its row.
receipts = Table(
    "receipts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("provider", String(64), nullable=False),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    Column("delivery_id", String(48), nullable=False, server_default=""),  # "": parked, unmatched
    Column("status", String(16), nullable=False),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("code", String(40), nullable=False, server_default=""),
    Column("received_at", Instant, nullable=False),
    Column("tag", String(32), nullable=False, server_default=""),  # ours, repeated by the provider
    Index("receipts_by_delivery", "delivery_id"),
    Index(
        "receipts_tagged",
        "tag",
        sqlite_where=text("delivery_id = '' AND tag != ''"),
        postgresql_where=text("delivery_id = '' AND tag != ''"),
    ),
    Index(
        "receipts_waiting",
        "provider_message_id",
        sqlite_where=text("delivery_id = ''"),
        postgresql_where=text("delivery_id = ''"),
    ),
)

inbox = Table(
    "inbox",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("delivery_id", String(48), nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("read_at", Instant),
    Column("archived_at", Instant),
    Index("inbox_by_borrower", "tenant", "borrower_id", "seq"),
)

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

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(80), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", String(200), nullable=False),  # space-separated
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("expires_at", Instant),  # NULL: never
    Column("networks", String(500), nullable=False, server_default=""),  # space-separated; "": from everywhere
    Column("user_id", String(24), nullable=False, server_default=""),  # whose key it is; "": a system's
)

# By which keys the digests of this ledger were made, by version (gateway/storage/digest_key.py).
digest_key = Table(
    "digest_key",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key_check", String(64), nullable=False),
)

# Heads of the administrators' logs (gateway/identity/admin_log.py). Tenant "": what concerns no single tenant.
admin_logs = Table(
    "admin_logs",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("event_hash", String(64), nullable=False, server_default=""),
)

# People who write and approve templates. The password is an Argon2 hash, which has its salt and costs in it.
users = Table(
    "users",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(80), nullable=False),
    Column("email", String(254), nullable=False, unique=True),  # in small letters; over all tenants
    Column("role", String(16), nullable=False),
    Column("password", String(200), nullable=False),  # "": none, so no password is right
    Column("subject", String(600)),  # issuer and subject, of who signs in by OpenID Connect
    Column("test_addresses", Text, nullable=False),  # JSON: channel → address that whoever added the user vouches for
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    Index("users_by_subject", "subject", unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the id: a stolen table opens nothing
    Column("user_id", String(24), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("ends_at", Instant),  # at the latest, where that is earlier than for all
    Index("sessions_by_user", "user_id"),
)

# Sign-ins at an OpenID Connect provider that have not come back yet, each to be ended once.
pending_sign_ins = Table(
    "pending_sign_ins",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the state
    Column("nonce", String(64), nullable=False),
    Column("verifier", String(64), nullable=False),
    Column("back", String(2000), nullable=False),
    Column("created_at", Instant, nullable=False),
)

# Who failed to sign in lately, by digests of the address that was typed and of where it came from.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("last_at", Instant),
    Column("wait_until", Instant),
)

# Up to which event what went out has been judged a second time (gateway/evidence/audit). One row.
audit_progress = Table(
    "audit_progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Instant),
)

# What that found: contacts that broke a rule, each with the event that shows it.
audit_findings = Table(
    "audit_findings",
    metadata,
    Column("event", BigInteger, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("notification_id", String(48), nullable=False),
    Column("delivery_id", String(48), nullable=False),
    Column("at", Instant, nullable=False),
    Column("detail", Text, nullable=False),
    Column("found_at", Instant, nullable=False),
    PrimaryKeyConstraint("event", "kind"),
    Index("audit_findings_found", "found_at"),
)

# Which processes have run on this ledger lately. For the status page.
processes = Table(
    "processes",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("version", String(80), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("providers", Text, nullable=False, server_default="{}"),
)

# Borrowers and cases of which nothing may be removed; "" for every one. Released ones stay, as evidence.
legal_holds = Table(
    "legal_holds",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False, server_default=""),
    Column("case_id", String(128), nullable=False, server_default=""),
    Column("reason", String(500), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("since", Instant, nullable=False),
    Column("released_at", Instant),
    Column("released_by", String(80), nullable=False, server_default=""),
    Index(
        "legal_holds_open",
        "tenant",
        "id",
        sqlite_where=text("released_at IS NULL"),
        postgresql_where=text("released_at IS NULL"),
    ),
)

# What left the ledger, batch by batch, each chained by hash to the one before: where it is and how to know it again.
archives = Table(
    "archives",
    metadata,
    # From 1 without a gap. Two prunes at once would write the same number: the second fails, and removes nothing.
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("file", String(200), nullable=False),  # "": removed without a copy
    Column("start", BigInteger, nullable=False),  # where its gzip member begins in the file
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("first", String(255), nullable=False),
    Column("last", String(255), nullable=False),
    Column("subjects", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

# The subjects whose events are being removed by this transaction; the events' trigger asks. Empty at its end.
leaving = Table("leaving", metadata, Column("subject", String(255), primary_key=True))

# Up to which notification a class of data has been removed, so that each run begins where the last one ended.
retention_progress = Table(
    "retention_progress",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("through", String(255), nullable=False),
)

# Where a tenant's case system wants to be told of what happens. The secret is derived from its id and version.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("url", String(500), nullable=False),
    Column("types", Text, nullable=False, server_default=""),  # space-separated; "": all
    Column("secret_version", Integer, nullable=False, server_default="1"),
    Column("previous_until", Instant),  # until then messages are signed with the version before as well
    # Which digest keys the secret and the one before it are derived from.
    Column("key_version", Integer, nullable=False, server_default="1"),
    Column("previous_key_version", Integer, nullable=False, server_default="1"),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    Column("disabled_reason", String(40), nullable=False, server_default=""),
    Column("cursor", BigInteger, nullable=False),  # the last event that was looked at for it
    Column("sequence", BigInteger, nullable=False, server_default="0"),  # of its last message
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row
    Column("rests_until", Instant),
    Index("webhook_endpoints_by_tenant", "tenant", "id"),
)

# What an endpoint is to be told, each once, and how that went: outbox and delivery log at once.
webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("endpoint_id", String(48), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("subject", String(255), nullable=False),  # as the event's: what is told of one is told in order
    Column("type", String(40), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False, server_default="pending"),  # pending, delivered or failed
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("attempted_at", Instant),
    Column("status", Integer),  # of the last answer
    Column("outcome", String(16), nullable=False, server_default=""),
    UniqueConstraint("endpoint_id", "sequence", name="one_per_sequence"),
    Index(
        "webhook_messages_due",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "webhook_messages_in_order",
        "endpoint_id",
        "subject",
        "sequence",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index("webhook_messages_old", "created_at"),
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

# When the user of an address last wrote to a provider's sender: it opens the provider's service window.
inbound_messages = Table(
    "inbound_messages",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("last_at", Instant, nullable=False),
    PrimaryKeyConstraint("tenant", "provider", "digest"),
)
# Tables of a domain of their own register themselves with ``metadata``.
from gateway.storage import conversation_tables as conversation_tables  # noqa: E402
from gateway.storage import journey_tables as journey_tables  # noqa: E402
