"""``gateway doctor``: finds each injected problem with a remedy, and reports nothing for a healthy installation."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.message
import dns.rrset
import pytest
from aiohttp import web
from redis.asyncio import Redis
from sqlalchemy import create_engine, insert, text
from typer.testing import CliRunner

from channels.base import SendFailure
from channels.email import CHANNEL as EMAIL
from channels.email import records
from channels.email.sink import SmtpSink
from channels.received import Received
from channels.sms import CHANNEL as SMS
from channels.sms.simulator import SmsSimulator
from gateway.app.settings import Settings
from gateway.app.templates import templates_folder
from gateway.cli import app
from gateway.cli.doctor import configuration, host, ledger, outside, queue, texts
from gateway.cli.doctor.finding import CheckResult, Level
from gateway.core.security.signing import Signer
from gateway.identity.keys import Keys
from gateway.storage.database import Database
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.webhooks import webhook_endpoints
from tests.support.api_gateway import app_of, open_api_gateway, serving
from tests.support.providers.smsc import Smsc
from tests.support.storage.ledgers import empty_sqlite

SECRET = "0f" * 8 + "a1b2c3d4e5f60718"
PRODUCTION = {
    "database_url": "postgresql+psycopg://gateway@db/gateway",
    "redis_url": "redis://redis:6379/0",
    "secret_key": SECRET,
    "public_url": "https://gateway.lender.test",
    "lender_name": "First Bank",
    "lender_phone": "+1 202 555 0199",
    "lender_help_url": "https://lender.test/help",
    "providers": [{"channel": "inapp", "kind": "feed", "name": "feed"}],
}


def now() -> datetime:
    return datetime.now(UTC)


def bad(found: list[CheckResult]) -> dict[str, Level]:
    """The findings that ask for a change; each has to say which."""
    wrong = [each for each in found if each.level in (Level.ERROR, Level.WARNING)]
    assert all(each.remedy for each in wrong)
    return {each.check: each.level for each in wrong}


# ── the settings ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_configuration_has_no_finding() -> None:
    """Nothing is asked for where all is set."""
    assert bad(configuration.check(Settings(**PRODUCTION), {"GATEWAY_PORT": "1", "GATEWAY_SERVICE_HOST": "x"})) == {}


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        ({"redis_url": ""}, "configuration.shape", Level.ERROR),
        ({"providers": []}, "configuration.providers", Level.ERROR),
        ({"secret_key": ""}, "configuration.secret", Level.ERROR),
        ({"secret_key": "short-secret-of-20-ch"}, "configuration.secret", Level.ERROR),
        ({"secret_key": "abab" * 10}, "configuration.secret", Level.ERROR),
        ({"public_url": ""}, "configuration.public_url", Level.ERROR),
        ({"public_url": "gateway.lender.test"}, "configuration.public_url", Level.ERROR),
        ({"public_url": "https://gateway.lender.test?x=1"}, "configuration.public_url", Level.ERROR),
        ({"public_url": "http://gateway.lender.test"}, "configuration.public_url", Level.ERROR),
        ({"public_url": "http://10.0.0.7:8080"}, "configuration.public_url", Level.WARNING),
        ({"lender_name": "Example Bank"}, "configuration.lender", Level.ERROR),
        ({"quotas": {"acme": {"notifications_per_second": 100}}}, "configuration.quotas", Level.WARNING),
        ({"quotas": {"": {"notifications_per_day": 999}}}, "configuration.quotas", Level.WARNING),
        (
            {"quotas": {"acme": {"requests_per_second": 9, "key": {"requests_per_second": 10}}}},
            "configuration.quotas",
            Level.WARNING,
        ),
    ],
)
def test_each_fault_of_the_settings_is_found(changes: Mapping[str, Any], check: str, level: Level) -> None:
    """Half a production shape, no or weak secrets, addresses that lead nowhere, an example for a lender."""
    assert bad(configuration.check(Settings(**{**PRODUCTION, **changes}), {})) == {check: level}


def test_a_misspelt_setting_is_named_with_the_right_one() -> None:
    """What nothing reads is told, with the name that was meant."""
    found, _ = configuration.check(Settings(**PRODUCTION), {"GATEWAY_SECRET_KEY_FLIE": "/x"})
    assert (found.check, found.remedy) == ("configuration.names", "did you mean GATEWAY_SECRET_KEY_FILE?")


# ── this machine ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_secret_files_must_be_their_owners(tmp_path: Path) -> None:
    """A secret that others may read is found, wherever it is named, with the command that mends it."""
    secret = tmp_path / "key"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    environment = {"GATEWAY_SECRET_KEY_FILE": str(secret)}
    (found,) = host.secret_files(Settings(data_dir=tmp_path), environment)
    assert (found.level, found.remedy) == (Level.ERROR, f"chmod 600 {secret}")
    secret.chmod(0o600)
    assert bad(host.secret_files(Settings(data_dir=tmp_path), environment)) == {}


def test_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error when nearly nothing is left, a warning before that."""
    usage = shutil.disk_usage(tmp_path)
    for free, expected in ((5e8, {"host.disk": Level.ERROR}), (2e9, {"host.disk": Level.WARNING}), (9e10, {})):
        full = usage._replace(total=100_000_000_000, free=int(free))
        monkeypatch.setattr("shutil.disk_usage", lambda _place, full=full: full)
        assert bad(host.disk(tmp_path / "not" / "made")) == expected


def test_the_sqlite_traps_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version with the WAL defect, a journal that blocks readers, a file full of holes, and one that is none."""
    settings = Settings(data_dir=tmp_path)
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 2))
    assert bad(host.sqlite(settings)) == {"host.sqlite": Level.WARNING}
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 3))
    assert bad(host.sqlite(settings)) == {}
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("CREATE TABLE t (x)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 1000)
    connection.execute("DELETE FROM t")
    connection.commit()
    found = host.sqlite(settings)
    assert bad(found) == {"host.sqlite.file": Level.WARNING}
    assert {each.remedy for each in found} >= {"gateway ledger vacuum, while the gateway is stopped"}
    assert len(found) == 2
    connection.close()
    (tmp_path / "ledger.db").write_bytes(b"no database" * 100)
    assert bad(host.sqlite(settings)) == {"host.sqlite.file": Level.ERROR}


def test_old_time_zones_are_found() -> None:
    """Zone rules change every year; those of two years ago are not those of now."""
    assert bad(host.zones(now())) == {}
    assert bad(host.zones(now() + timedelta(days=900))) == {"host.zones": Level.WARNING}


# ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────────────

SOUND = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "transaction_read_only": "off",
    "server_version_num": "180001",
    "server_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "autovacuum": "on",
    "data_checksums": "on",
}


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("fsync", "off", "ledger.durability"),
        ("full_page_writes", "off", "ledger.durability"),
        ("synchronous_commit", "off", "ledger.durability"),
        ("transaction_read_only", "on", "ledger.writable"),
        ("server_version_num", "130010", "ledger.version"),
        ("server_encoding", "SQL_ASCII", "ledger.encoding"),
        ("default_transaction_isolation", "serializable", "ledger.isolation"),
        ("statement_timeout", "500", "ledger.timeout"),
        ("autovacuum", "off", "ledger.vacuum"),
        ("data_checksums", "off", "ledger.checksums"),
    ],
)
def test_each_unsafe_setting_of_postgresql_is_found(name: str, value: str, check: str) -> None:
    """What would lose acknowledged requests, refuse names, cut off batches or grow without end."""
    assert bad(ledger.judge(SOUND)) == {}
    assert set(bad(ledger.judge({**SOUND, name: value}))) == {check}


async def test_a_real_postgresql_is_examined(durable_postgresql: str) -> None:
    """Content with a migrated server; finds a setting of the database, a clock that is off, a schema that is behind."""
    settings = Settings(**{**PRODUCTION, "database_url": durable_postgresql})
    assert bad(await ledger.check(settings, now)).keys() <= {"ledger.checksums"}
    engine = create_engine(durable_postgresql)
    name = engine.url.database
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        try:
            found = bad(await ledger.check(settings, lambda: now() + timedelta(seconds=30)))
        finally:
            head = ledger_head()
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{head}'"))
            connection.execute(text(f'ALTER DATABASE "{name}" RESET synchronous_commit'))
    engine.dispose()
    assert {"ledger.durability", "ledger.clock", "ledger.migrations"} <= found.keys()


def ledger_head() -> str:
    from gateway.storage.upgrade.migrate import head

    return head()


async def test_a_server_that_is_away_is_found() -> None:
    """Neither ledger nor Redis: both are told, and nothing is raised."""
    settings = Settings(
        **{**PRODUCTION, "database_url": "postgresql+psycopg://127.0.0.1:9/x", "redis_url": "redis://127.0.0.1:9/0"}
    )
    assert bad(await ledger.check(settings, now)) == {"ledger.reachable": Level.ERROR}
    assert bad(await queue.check(settings)) == {"redis.reachable": Level.ERROR}


async def test_failing_webhooks_are_found(empty_postgresql: str) -> None:
    """A case system's address that was given up, fails, has no name, or is open to listeners; a sound one is fine."""
    engine = create_engine(empty_postgresql)
    base = {"tenant": "acme", "created_at": now(), "cursor": 0, "url": "https://localhost/hook"}
    rows = {
        "a": {},
        "b": {"disabled_at": now(), "disabled_reason": "failing"},
        "c": {"url": "https://case.invalid/hook"},
        "d": {"failures": 4},
        "e": {"url": "http://localhost/hook"},
    }
    with engine.begin() as connection:
        for key, changes in rows.items():
            connection.execute(insert(webhook_endpoints), [{"id": key, **base, **changes}])
        found = bad(ledger.webhooks(connection))
    engine.dispose()
    assert found == {
        "webhook.b": Level.WARNING,
        "webhook.c": Level.ERROR,
        "webhook.d": Level.WARNING,
        "webhook.e": Level.WARNING,
    }


async def test_keys_that_expire_soon_are_found(empty_postgresql: str) -> None:
    """Within 14 days, and neither revoked nor expired already."""
    database = Database(empty_postgresql)
    keys, began = Keys(database, Signer(SECRET.encode())), now() - timedelta(days=60)
    made = {
        days: (await keys.create("acme", "", ["read"], began, expires_at=now() + timedelta(days=days)))[0]
        for days in (-1, 13, 15)
    }
    revoked, _ = await keys.create("acme", "", ["read"], began, expires_at=now() + timedelta(days=2))
    await keys.revoke(revoked, now())
    await keys.create("acme", "", ["read"], began)
    [found] = await database.read(lambda connection: ledger.keys(connection, now))
    assert (found.check, found.level, made[13] in found.what) == ("ledger.keys", Level.WARNING, True)
    await database.close()


async def test_somebody_is_named_to_read_unverified_reports(tmp_path: Path) -> None:
    """One tenant reads its own; of several one has to be named, and has to be there."""
    database = Database(empty_sqlite(tmp_path))
    mail: dict[str, Any] = {"name": "mail", "options": {"complaints_address": "complaints@lender.example"}}
    misspelt = {"name": "mail", "options": {**mail["options"], "unverified_tenant": "acmee"}}
    named = {"name": "mail", "options": {**mail["options"], "unverified_tenant": "acme"}}
    seen = []
    for tenant in ("acme", "other"):
        row = {"id": tenant, "tenant": tenant, "name": "", "digest": "", "scopes": "", "created_at": now()}
        await database.write(lambda connection, row=row: connection.execute(api_keys.insert(), [row]))
        seen += [
            len(await database.read(lambda connection, one=one: ledger.readers_of_reports(connection, [one])))
            for one in (mail, misspelt, named, {"name": "sms"})
        ]
    assert seen == [0, 1, 0, 0, 1, 1, 0, 0]
    await database.close()


async def test_the_embedded_ledgers_keys_are_looked_at(tmp_path: Path) -> None:
    """An embedded ledger that is not there yet is skipped and not made; of one that is, the keys are checked."""
    settings = Settings(data_dir=tmp_path)
    [found] = await ledger.check(settings, now)
    assert (found.level, os.listdir(tmp_path)) == (Level.SKIPPED, [])
    database = Database(empty_sqlite(tmp_path))
    [found] = await ledger.check(settings, now)
    assert found.level is Level.OK
    made, _ = await Keys(database, Signer(SECRET.encode())).create(
        "acme", "", ["read"], now(), expires_at=now() + timedelta(days=3)
    )
    [found] = await ledger.check(settings, now)
    assert (found.check, found.level, made in found.what) == ("ledger.keys", Level.WARNING, True)
    await database.close()


# ── Redis ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_real_valkey_is_examined(redis: Redis, redis_url: str) -> None:
    """Content with our own; finds an eviction policy that would forget work, and a memory that is nearly full."""
    settings = Settings(**{**PRODUCTION, "redis_url": redis_url})
    assert bad(await queue.check(settings)) == {}
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    await redis.config_set("maxmemory", "1mb")
    try:
        found = bad(await queue.check(settings))
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "0")
    assert found == {"redis.eviction": Level.ERROR, "redis.memory": Level.WARNING}


@pytest.mark.parametrize(
    ("said", "check"),
    [
        ({"redis_version": "5.0.7"}, "redis.version"),
        ({"redis_version": "7.2.0", "role": "slave"}, "redis.role"),
        ({"redis_version": "7.2.0", "rdb_last_bgsave_status": "err"}, "redis.persistence"),
        ({"redis_version": "7.2.0", "aof_last_write_status": "err"}, "redis.persistence"),
    ],
)
def test_each_unsafe_state_of_redis_is_found(said: Mapping[str, Any], check: str) -> None:
    """Too old, a replica, or about to refuse writes."""
    assert bad(queue.judge(said)) == {check: Level.ERROR}


# ── providers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _twilio(port: int, token: str) -> dict[str, Any]:
    options = {
        "account_sid": "AC" + "0" * 32,
        "auth_token": token,
        "from_number": "+15005550006",
        "base_url": f"http://127.0.0.1:{port}",
        "timeout_seconds": 2,
    }
    return {"channel": "sms", "kind": "twilio", "name": "twilio", "options": options}


async def test_providers_are_asked_whether_they_know_us() -> None:
    """Right credentials, wrong ones, nobody there, and an option that is missing: each its own word."""
    simulator = SmsSimulator("AC" + "0" * 32, "right", now, Received())
    await simulator.start()
    entries = {
        "right": _twilio(simulator.port, "right"),
        "wrong": _twilio(simulator.port, "wrong"),
        "away": _twilio(9, "right"),
        "incomplete": {"channel": "sms", "kind": "twilio", "name": "", "options": {}},
        "feed": {"channel": "inapp", "kind": "feed", "name": ""},
    }
    settings = Settings(**{**PRODUCTION, "providers": [{**each, "name": name} for name, each in entries.items()]})
    found = await outside.providers(settings, now)
    await simulator.stop()
    assert bad(found) == {
        "provider.wrong": Level.ERROR,
        "provider.away": Level.ERROR,
        "provider.incomplete": Level.ERROR,
    }
    assert {each.check: each.level for each in found}["provider.right"] is Level.OK
    assert {each.check: each.level for each in found}["provider.feed"] is Level.SKIPPED
    assert "right" not in json.dumps([each.what for each in found if each.level is Level.ERROR])
    assert not simulator.messages


async def test_a_relay_and_an_smsc_are_asked_too() -> None:
    """SMTP connects and greets, SMPP binds; where nobody listens each says so."""
    sink = SmtpSink(now, Received())
    await sink.start()
    options = {"host": "127.0.0.1", "tls": "none", "domain": "lender.test", "from_address": "a@lender.test"}
    relay = EMAIL.build("smtp", "relay", {**options, "port": sink.port}, {"clock": now})
    assert isinstance(await relay.check(), list)  # type: ignore[attr-defined]
    await sink.stop()
    with pytest.raises(SendFailure):
        await relay.check()  # type: ignore[attr-defined]
    smsc = Smsc()
    await smsc.start()
    options = {"host": "127.0.0.1", "system_id": "x", "password": "y", "source_address": "+15005550006"}
    provider = SMS.build("smpp", "smsc", {**options, "port": smsc.port, "timeout_seconds": 2}, {"clock": now})
    assert await provider.check() == []  # type: ignore[attr-defined]
    await provider.close()
    await smsc.stop()
    with pytest.raises(SendFailure):
        await provider.check()  # type: ignore[attr-defined]


class _Dns(asyncio.DatagramProtocol):
    """A name server with these records."""

    def __init__(self, answers: Mapping[tuple[str, str], str]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        asked = dns.message.from_wire(data)
        response = dns.message.make_response(asked)
        question = asked.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        if value := self._answers.get((question.name.to_text(omit_final_dot=True), kind)):
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, value))
        self._transport.sendto(response.to_wire(), address)  # type: ignore[attr-defined]


RECORDS = {
    ("bounce.lender.test", "TXT"): '"v=spf1 include:relay.test -all"',
    ("bounce.lender.test", "MX"): "10 mail.lender.test.",
    ("_dmarc.lender.test", "TXT"): '"v=DMARC1; p=none"',
    ("k1._domainkey.lender.test", "TXT"): '"v=DKIM1; k=rsa; p=MIIB"',
}


@pytest.mark.parametrize("missing", [None, *RECORDS])
async def test_missing_dns_records_are_found(missing: tuple[str, str] | None) -> None:
    """SPF, MX, DMARC and the DKIM key: what isn't there is named, with what to add."""
    answers = {key: value for key, value in RECORDS.items() if key != missing}
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Dns(answers), local_addr=("127.0.0.1", 0))
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    found = await records.advice("lender.test", "bounce.lender.test", "lender.test", "k1", resolver)
    transport.close()
    assert [each.what.partition(" ")[0] for each in found] == ([missing[0]] if missing else [])


# ── the public address ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def elsewhere() -> AsyncIterator[str]:
    """Somebody else's web server, which redirects one path."""

    async def away(_request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("https://gateway.lender.test/")

    application = web.Application()
    application.router.add_get("/old/v1/inbox", away)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_public_address_is_followed(short_dir: Path, redis_url: str, elsewhere: str) -> None:
    """To this gateway and its providers, to another secret, a redirect, somebody else, nobody, no name at all."""

    async def found(url: str, secret: str = "0123456789abcdef", **more: Any) -> list[CheckResult]:
        settings = Settings(**{**PRODUCTION, "public_url": url, "secret_key": secret, **more})
        return await outside.public_url(settings, gateway.ledger.clock)

    async with open_api_gateway(short_dir, redis_url) as gateway, serving(app_of(gateway)) as url:
        assert bad(await found(url)) == {}
        only_here = [*PRODUCTION["providers"], {"channel": "sms", "kind": "twilio", "name": "only-here"}]
        assert bad(await found(url, providers=only_here)) == {"callback.only-here": Level.ERROR}
        assert "GATEWAY_SECRET_KEY" in (await found(url, SECRET))[0].what
        assert "redirects" in (await found(f"{elsewhere}/old"))[0].what
        assert "something else" in (await found(elsewhere))[0].what
        assert bad(await found("http://127.0.0.1:9")) == {"public_url.reachable": Level.ERROR}
        assert bad(await found("https://nowhere.invalid")) == {"public_url.dns": Level.ERROR}


# ── texts, and the command ──────────────────────────────────────────────────────────────────────────────────────────


def test_broken_texts_are_found(tmp_path: Path) -> None:
    """What ships is without errors; a folder without templates or packs stops the gateway, and is told."""
    assert Level.ERROR not in bad(texts.check(Settings(), templates_folder(Settings()), now())).values()
    assert bad(texts.check(Settings(), tmp_path, now())) == {"policies": Level.ERROR, "templates": Level.ERROR}


def test_the_command_says_what_to_change_and_ends_with_it(short_dir: Path) -> None:
    """Exit status 0 where nothing is wrong, 1 where something is, with all findings as JSON for scripts."""
    calm = {"GATEWAY_DATA_DIR": str(short_dir)}
    fine = CliRunner().invoke(app, ["doctor", "--json"], env=calm)
    assert fine.exit_code == 0, fine.output
    assert {"configuration", "host.disk", "templates"} <= {each["check"] for each in json.loads(fine.stdout)}
    (short_dir / "secret.key").write_text("x")
    (short_dir / "secret.key").chmod(0o644)
    wrong = CliRunner().invoke(app, ["doctor", "--json"], env=calm)
    assert wrong.exit_code == 1
    assert f"chmod 600 {short_dir}/secret.key" in [each["remedy"] for each in json.loads(wrong.stdout)]
    shown = CliRunner().invoke(app, ["doctor"], env=calm)
    assert (shown.exit_code, "chmod 600" in shown.output) == (1, True)
    broken = CliRunner().invoke(app, ["doctor", "--json"], env={**calm, "GATEWAY_PORT": "no"})
    assert (broken.exit_code, json.loads(broken.stdout)[0]["check"]) == (1, "configuration")
