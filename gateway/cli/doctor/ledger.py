"""Checks PostgreSQL (reachable, writable, durable settings, connections, clock), and what any ledger stores."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, and_, create_engine, exists, func, or_, select, text
from sqlalchemy.exc import SQLAlchemyError

from channels.base import TemplateStatus
from gateway.app.settings import Settings
from gateway.app.storage import embedded_ledger
from gateway.cli.doctor.finding import CheckResult, error, ok, skipped, warning
from gateway.core.clock import Clock
from gateway.core.states import TemplateState
from gateway.operations.processes import GONE_AFTER
from gateway.storage.database import CONNECTIONS_PER_PROCESS, is_pooled, postgresql_engine
from gateway.storage.tables.identity import api_keys, users
from gateway.storage.tables.operations import processes
from gateway.storage.tables.templates import provider_templates, template_editions
from gateway.storage.tables.webhooks import webhook_endpoints
from gateway.storage.upgrade.migrate import pending_migration_on

_OLDEST = 140000  # 14: the oldest that PostgreSQL's community maintains at the end of 2026 (postgresql.org/support)
_EXPIRES_SOON = timedelta(days=14)  # our choice: long enough for a change at a lender's case system
_SKEW_SECONDS = 1.0  # our choice; decisions are made by the ledger's clock, logs and certificates by this machine's
_PROCESSES = 4  # two of each kind: the minimum for an upgrade without downtime
_STATEMENT_MS = 10_000  # our own limit for a transaction that hangs: a shorter one here would cut healthy ones
_IN_USE = (TemplateState.APPROVED, TemplateState.SCHEDULED, TemplateState.PUBLISHED)
_POOLER_LOOKS = 5  # our choice
_ASKED = (
    "fsync", "full_page_writes", "synchronous_commit", "server_encoding",
    "default_transaction_isolation", "statement_timeout", "autovacuum", "data_checksums",
    "server_version_num", "transaction_read_only",
)  # fmt: skip
_DURABLE = frozenset({"on", "remote_apply", "remote_write", "local"})


async def check(settings: Settings, clock: Clock) -> list[CheckResult]:
    """Problems of the server of GATEWAY_DATABASE_URL, and of what is stored in the ledger."""
    if not settings.database_url or settings.database_url.startswith("sqlite"):
        path = settings.database_url.removeprefix("sqlite:///") or embedded_ledger(settings.data_dir)
        return await asyncio.to_thread(_check_sqlite, Path(path), settings, clock)
    return await asyncio.to_thread(_check, settings.database_url, settings, clock)


def _check_sqlite(path: Path, settings: Settings, clock: Clock) -> list[CheckResult]:
    """What the embedded ledger stores; its file is checked by host.sqlite."""
    if not path.exists():
        return [skipped("ledger", "the ledger is SQLite, and not there yet: see host.sqlite")]
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            if missing := pending_migration_on(connection):
                return [warning("ledger.migrations", missing, "gateway serve migrates it when it starts")]
            return _stored(connection, settings, clock) or [
                ok("ledger", "no API key expires soon, every webhook is taken, and providers' templates are usable")
            ]
    except SQLAlchemyError as broken:
        cause = getattr(broken, "orig", None) or broken
        return [skipped("ledger", f"the ledger can't be read ({type(cause).__name__}): see host.sqlite")]
    finally:
        engine.dispose()


def _check(url: str, settings: Settings, clock: Clock) -> list[CheckResult]:
    remedy = "check GATEWAY_DATABASE_URL, the server, and the network between"
    try:
        engine = postgresql_engine(url)
    except (SQLAlchemyError, ImportError, ValueError) as broken:
        return [error("ledger.reachable", f"the URL can't be used ({type(broken).__name__})", remedy)]
    try:
        with engine.connect() as connection:
            return [*pooler(engine, connection), *_on(connection, settings, clock)]
    except SQLAlchemyError as broken:
        # The driver's message is left out: it may have the user and the host.
        cause = getattr(broken, "orig", None) or broken
        return [error("ledger.reachable", f"the ledger can't be reached ({type(cause).__name__})", remedy)]
    finally:
        engine.dispose()


def _on(connection: Connection, settings: Settings, clock: Clock) -> list[CheckResult]:
    found = judge(_settings(connection, _ASKED))
    found += skew(connection, clock)
    missing = pending_migration_on(connection)
    if missing:
        return [*found, error("ledger.migrations", missing, "gateway ledger migrate, before this version is started")]
    found.append(ok("ledger.migrations", "the schema is what this version needs"))
    # Behind a pooler, its own limits count, which only its administrator can see.
    room = [] if is_pooled(connection) else connections(connection, clock)
    return [*found, *room, *_stored(connection, settings, clock)]


def _stored(connection: Connection, settings: Settings, clock: Clock) -> list[CheckResult]:
    return [
        *webhooks(connection),
        *keys(connection, clock),
        *templates_of_providers(connection),
        *readers_of_reports(connection, settings.providers),
    ]


def readers_of_reports(connection: Connection, providers: Sequence[Mapping[str, Any]]) -> list[CheckResult]:
    """Providers of whose unverified reports nobody is named to read, or a tenant that has no people and no keys."""
    sending = set(connection.execute(select(api_keys.c.tenant).distinct()).scalars())
    known = sending | set(connection.execute(select(users.c.tenant).distinct()).scalars())
    found = []
    for each in providers:
        options = each.get("options", {})
        named = options.get("unverified_tenant", "")
        if named and named not in known:
            what = f"unverified_tenant is {named}, which has no API key and no people: nobody reads its reviews"
        elif options.get("complaints_address") and not named and len(sending) > 1:
            what = "there are several tenants, so complaints that name no message are not kept for anybody"
        else:
            continue
        remedy = "name the tenant whose people read them in the provider's option unverified_tenant"
        found.append(warning(f"provider.{each['name']}", what, remedy))
    return found


def keys(connection: Connection, clock: Clock) -> list[CheckResult]:
    """API keys that expire soon; those that have expired were noticed by their users."""
    now = clock()
    soon = (api_keys.c.expires_at > now) & (api_keys.c.expires_at <= now + _EXPIRES_SOON)
    query = select(api_keys).where(soon, api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.expires_at)
    return [
        warning(
            "ledger.keys",
            f"the API key {row.id} of {row.tenant} expires on {row.expires_at:%Y-%m-%d}",
            "gateway key create makes its successor; let its user change over, then gateway key revoke",
        )
        for row in connection.execute(query)
    ]


def templates_of_providers(connection: Connection) -> list[CheckResult]:
    """Providers' templates that can't be sent, of versions that new requests get or will get."""
    stored = template_editions.alias()
    own = and_(stored.c.tenant == provider_templates.c.tenant, stored.c.template == provider_templates.c.template)
    version = and_(own, stored.c.version == provider_templates.c.version)
    in_use = exists().where(version, stored.c.state.in_(_IN_USE))
    replaced = exists().where(own, stored.c.state == TemplateState.PUBLISHED)
    known = exists().where(version)
    unusable = provider_templates.c.status != TemplateStatus.APPROVED
    query = select(provider_templates).where(unusable, or_(in_use, and_(~known, ~replaced)))
    remedy = "see it with the provider; gateway template providers list shows all, and where our text differs"
    return [
        warning(
            f"provider_template.{row.provider}",
            f"{row.template} ({row.version}) of {row.tenant} in {row.locale} is {row.status}"
            f"{f' ({row.reason})' if row.reason else ''} since {row.seen_at:%Y-%m-%d}, so its channel is passed over",
            remedy,
        )
        for row in connection.execute(query.order_by(*provider_templates.primary_key))
    ]


def pooler(engine: Engine, connection: Connection) -> list[CheckResult]:
    """Whether a pooler is between, and in which mode. Ends the connection's transaction."""
    if not is_pooled(connection):
        return [ok("ledger.pooler", "no pooler between: statements are prepared")]
    process = text("SELECT pg_backend_pid()")
    mine = connection.execute(process).scalar_one()
    connection.rollback()
    # A session keeps its server process. In transaction mode another one gets the process that became free last; where
    # there is much traffic it may be a third one's, so a few look.
    for _ in range(_POOLER_LOOKS):
        with engine.connect() as other:
            if other.execute(process).scalar_one() == mine:
                what = "a pooler in transaction mode: statements are not prepared, and there are no session settings"
                return [ok("ledger.pooler", what)]
        mine = connection.execute(process).scalar_one()
        connection.rollback()
    what = "a pooler in session mode, as far as can be seen: statements are not prepared"
    return [ok("ledger.pooler", what)]


def _settings(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    query = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
    return {row.name: row.setting for row in connection.execute(query, {"names": list(names)})}


def judge(settings: Mapping[str, str]) -> list[CheckResult]:
    """Check the PostgreSQL settings that the durability of a 202 depends on."""
    found: list[CheckResult] = []
    if settings["fsync"] != "on" or settings["full_page_writes"] != "on":
        what = "fsync or full_page_writes is off: a power cut loses what was acknowledged, or the whole ledger"
        found.append(error("ledger.durability", what, "ALTER SYSTEM SET fsync = on; … full_page_writes = on; reload"))
    if settings["synchronous_commit"] not in _DURABLE:
        what = "synchronous_commit is off: a 202 is given before the request is on disk"
        found.append(error("ledger.durability", what, "ALTER DATABASE … SET synchronous_commit = on"))
    if settings["transaction_read_only"] != "off":
        what = "the server takes no writes: it is a standby, or read-only"
        found.append(error("ledger.writable", what, "point GATEWAY_DATABASE_URL at the primary"))
    if int(settings["server_version_num"]) < _OLDEST:
        what = f"PostgreSQL {int(settings['server_version_num']) // 10_000} gets no more fixes"
        found.append(warning("ledger.version", what, "upgrade to a maintained version"))
    if settings["server_encoding"] != "UTF8":
        what = f"the database's encoding is {settings['server_encoding']}: names and words would be refused"
        found.append(error("ledger.encoding", what, "make the database anew with ENCODING 'UTF8'"))
    if settings["default_transaction_isolation"] != "read committed":
        what = f"transactions are {settings['default_transaction_isolation']}: they fail where ours wait"
        remedy = "ALTER ROLE … SET default_transaction_isolation = 'read committed'"
        found.append(error("ledger.isolation", what, remedy))
    if 0 < int(settings["statement_timeout"]) < _STATEMENT_MS:
        what = f"statement_timeout is {settings['statement_timeout']} ms and cuts off batches under load"
        found.append(warning("ledger.timeout", what, f"ALTER ROLE … SET statement_timeout = {_STATEMENT_MS}, or 0"))
    if settings["autovacuum"] != "on":
        what = "autovacuum is off: the busiest tables grow and slow down without end"
        found.append(error("ledger.vacuum", what, "ALTER SYSTEM SET autovacuum = on; reload"))
    if settings["data_checksums"] != "on":
        what = "pages have no checksums: a disk that lies is not found out"
        found.append(warning("ledger.checksums", what, "pg_checksums --enable, while the server is stopped"))
    return found or [ok("ledger.settings", "PostgreSQL is durable, writable and maintained")]


def skew(connection: Connection, clock: Clock) -> list[CheckResult]:
    """Compare this machine's clock with the ledger's, which all decisions use."""
    before = clock()
    theirs: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    after = clock()
    ahead = (before + (after - before) / 2 - theirs).total_seconds()
    detail = f"this machine's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the ledger's"
    if abs(ahead) > _SKEW_SECONDS + (after - before).total_seconds() / 2:
        return [error("ledger.clock", detail, "run an NTP client (chrony, systemd-timesyncd) on both machines")]
    return [ok("ledger.clock", detail)]


def connections(connection: Connection, clock: Clock) -> list[CheckResult]:
    """Check that max_connections is enough for the running processes, or for the recommended minimum."""
    running = select(func.count()).where(processes.c.seen_at > clock() - GONE_AFTER)
    alive = int(connection.execute(running).scalar_one())
    names = ["max_connections", "superuser_reserved_connections"]
    limits = {name: int(value) for name, value in _settings(connection, names).items()}
    room = limits["max_connections"] - limits["superuser_reserved_connections"]
    wanted = max(alive, _PROCESSES) * CONNECTIONS_PER_PROCESS
    detail = f"{max(alive, _PROCESSES)} processes use up to {wanted} of {room} connections"
    if wanted > room:
        return [error("ledger.connections", detail, f"ALTER SYSTEM SET max_connections = {wanted * 2}, and restart it")]
    if wanted * 2 > room:
        what = detail + "; an upgrade runs twice as many processes for a while"
        return [
            warning("ledger.connections", what, f"ALTER SYSTEM SET max_connections = {wanted * 2 + 20}, and restart it")
        ]
    return [ok("ledger.connections", detail)]


def webhooks(connection: Connection) -> list[CheckResult]:
    """Check the webhook endpoints: disabled, failing, without DNS record, or without TLS."""
    found = []
    for row in connection.execute(select(webhook_endpoints).order_by(webhook_endpoints.c.id)):
        name, host = f"webhook.{row.id}", urlsplit(row.url).hostname or ""
        if row.disabled_at is not None:
            what = f"{host} gets no webhooks any more ({row.disabled_reason})"
            found.append(warning(name, what, f"mend it, then POST /v1/webhook-endpoints/{row.id}/enable, or delete it"))
        elif not _has_address(host):
            found.append(error(name, f"{host} has no address", "add it to the DNS, or delete the endpoint"))
        elif row.failures:
            what = f"{host} did not take the last {row.failures} messages"
            found.append(warning(name, what, "its log says why: GET /v1/webhook-endpoints/ID/messages"))
        elif not row.url.startswith("https://"):
            what = f"{host} gets webhooks over http: the network in between can read the states of reminders"
            found.append(warning(name, what, "give it an https:// address"))
    return found


def _has_address(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except OSError:
        return False
