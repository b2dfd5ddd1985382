"""The tables of keys, users, sessions and administrators' logs."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from gateway.storage.tables.columns import Instant, metadata

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


# By which keys the digests of this ledger were made, by version (gateway/storage/upgrade/digest_key.py).
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
