"""Commands that open the ledger without a server: API keys, migrations, evidence, audit."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import console
from gateway.cli.client_options import instant_of
from gateway.cli.ledger import acts, data_care
from gateway.cli.runner import fail, full_id, ledger_settings, run

keys_app = typer.Typer(help="API keys of tenants.", no_args_is_help=True)
ledger_app = typer.Typer(help="The ledger: schema, evidence and maintenance.", no_args_is_help=True)
data_care.install(ledger_app)

_DAY_DIGITS = 4  # 27 years

DataDir = Annotated[Path | None, typer.Option(help="The data directory of the embedded ledger (GATEWAY_DATA_DIR).")]
Expires = Annotated[
    str,
    typer.Option("--expires", help="When the key expires: 90d, or RFC 3339; default: never.", metavar="WHEN"),
]
Networks = Annotated[
    list[str] | None,
    typer.Option("--network", help="Network that may use the key, as 10.0.0.0/8; may be repeated; default: any."),
]
Owner = Annotated[
    str,
    typer.Option(
        "--user", help="E-mail address of the person whose key it is: it counts as that person at a journey's gate."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        help="send, read, words, manage, templates:read, templates:edit, templates:approve; admin: all within its "
        "tenant; platform: controls of all tenants. May be repeated; default: send, read.",
    ),
]


@keys_app.command()
def create(
    tenant: Annotated[str, typer.Option(help="The tenant whose requests the key may send.")],
    name: Annotated[str, typer.Option(help="A name for the list of keys.")] = "",
    scope: Scopes = None,
    expires: Expires = "",
    network: Networks = None,
    user: Owner = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create a key and print it once: only a keyed digest of it is stored."""
    from gateway.app.storage import open_ledger

    async def work(stop: asyncio.Event) -> tuple[str, str]:
        # Not locked: a running gateway holds the lock, and a second process may write for a moment.
        async with (
            open_ledger(ledger_settings(data_dir), locked=False) as ledger,
            acts.recorded(ledger, "key create", tenant),
        ):
            try:
                now, scopes = ledger.clock(), scope or ["send", "read"]
                end = _expiry(expires, now) if expires else None
                owner = await ledger.users.find(user) if user else None
                if user and owner is None:
                    fail(f"there is no user {user}; see gateway user list", 2)
                return await ledger.keys.create(
                    tenant, name, scopes, now, expires_at=end, networks=network or (), owner=owner
                )
            except ValueError as error:
                fail(str(error), 2)

    identifier, key = run(work)
    if as_json:
        typer.echo(json.dumps({"id": identifier, "key": key}))
    else:
        console.STDERR.print(f"key {identifier}; store it now, it can't be shown again:")
        typer.echo(key)


def _expiry(text: str, now: datetime) -> datetime:
    days = text.removesuffix("d")
    if days != text and days.isascii() and days.isdigit() and len(days) <= _DAY_DIGITS:
        return now + timedelta(days=int(days))
    return instant_of(text, "--expires")


@keys_app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List all keys, also revoked ones."""
    from gateway.app.storage import open_ledger
    from gateway.core.codec import instant

    async def work(stop: asyncio.Event) -> list[dict[str, str]]:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            return [
                {
                    "id": key.id,
                    "tenant": key.tenant,
                    "name": key.name,
                    "scopes": " ".join(sorted(key.scopes)),
                    "created_at": instant(key.created_at) or "",
                    "expires_at": instant(key.expires_at) or "",
                    "networks": " ".join(map(str, key.networks)),
                    "revoked_at": instant(key.revoked_at) or "",
                    "user": key.user_id,
                }
                for key in await ledger.keys.list(tenant)
            ]

    found = run(work)
    columns = ("id", "tenant", "name", "scopes", "created_at", "expires_at", "networks", "revoked_at", "user")
    console.listing(found, columns, as_json=as_json)


@keys_app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID")], data_dir: DataDir = None) -> None:
    """Revoke a key; running processes refuse it after a few seconds."""
    from gateway.app.storage import open_ledger

    async def work(stop: asyncio.Event) -> str:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            live = {each.id: each.tenant for each in await ledger.keys.list(None) if each.revoked_at is None}
            identifier = full_id(key_id, live, "gateway key list")
            async with acts.recorded(ledger, "key revoke", live[identifier], key_id=identifier):
                await ledger.keys.revoke(identifier, ledger.clock())
            return identifier

    console.STDERR.print(f"key {run(work)} is revoked")


@ledger_app.command("migrate")
def migrate_ledger(data_dir: DataDir = None) -> None:
    """Migrate the ledger to the schema of this version. Safe to repeat."""
    from gateway.app.storage import open_ledger
    from gateway.storage.upgrade.migrate import current, migrate, retire

    async def work(stop: asyncio.Event) -> tuple[tuple[str, str], tuple[str, ...]]:
        async with open_ledger(ledger_settings(data_dir)) as ledger:
            engine = ledger.database.engine
            if ledger.database.is_sqlite:  # opening has done it
                now = await asyncio.to_thread(current, engine)
                return (now, now), ()
            changed = await asyncio.to_thread(migrate, engine)
            return changed, await asyncio.to_thread(retire, engine, ledger.settings.release)

    (before, after), needed = run(work)
    changed = f"migrated from {before or 'nothing'} to {after}" if before != after else f"is at {after}"
    console.STDERR.print(f"the ledger {changed}")
    if needed:
        console.STDERR.print(
            f"{', '.join(needed)} stay for processes of the version before: run this again when they are gone"
        )


@ledger_app.command("verify")
def verify_ledger(
    archive: Annotated[Path | None, typer.Option("--archive", help="Check the archives in this folder too.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Check every hash chain of events, and those of archives. Exit status 1 when one is broken."""
    from gateway.app.storage import open_ledger
    from gateway.cli.ledger import evidence

    async def work(stop: asyncio.Event) -> evidence.Findings:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            return await evidence.verify(ledger.database, archive)

    found = run(work)
    if as_json:
        broken = [{"subject": subject, "detail": detail} for subject, detail in found.broken]
        typer.echo(json.dumps({"events": found.events, "subjects": found.subjects, "broken": broken}))
    else:
        for subject, detail in found.broken:
            typer.echo(f"{subject}: {detail}")
        console.STDERR.print(
            f"{found.events:,} events of {found.subjects:,} subjects: "
            + (f"{len(found.broken):,} broken" if found.broken else "every chain holds")
        )
    raise typer.Exit(1 if found.broken else 0)


@ledger_app.command("audit")
def audit_ledger(
    since: Annotated[str, typer.Option("--from", help="Contacts that began at or after this instant, RFC 3339.")],
    until: Annotated[str, typer.Option("--to", help="And before this instant; default: now.")] = "",
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Check contacts with code that is independent of the policy. Exit status 1: a violation, or no contact began."""
    from channels import registry
    from gateway.app.storage import open_ledger
    from gateway.app.templates import policies_folder
    from gateway.core.codec import instant
    from gateway.evidence.audit.auditor import Auditor
    from gateway.evidence.audit.figures import Figures

    begin = instant_of(since, "--from")
    chosen = ledger_settings(data_dir)

    async def work(stop: asyncio.Event) -> tuple[int, list[dict[str, Any]]]:
        async with open_ledger(chosen, locked=False, create=False) as ledger:
            # The clock of a demo may be ahead of this machine's, so without --to there is no end.
            end = instant_of(until, "--to") if until else datetime.max.replace(tzinfo=UTC)
            profiles = registry.profiles(registry.discover())
            consents = {name: profile.consent_categories for name, profile in profiles.items()}
            auditor = Auditor(ledger.database, Figures.load(policies_folder(chosen), consents))
            batches = [judged async for judged in auditor.between(begin, end)]
            found = [each for judged in batches for each in judged.findings if tenant in (None, each.tenant)]
            rows = [{**asdict(each), "at": instant(each.at)} for each in found]
            return sum(judged.contacts for judged in batches), rows

    contacts, findings = run(work)
    if as_json:
        typer.echo(json.dumps({"contacts": contacts, "violations": findings}, ensure_ascii=False))
    else:
        columns = ("at", "kind", "notification_id", "delivery_id", "event", "detail")
        if findings:
            console.STDOUT.print(console.table(None, columns, [[row[name] for name in columns] for row in findings]))
        console.STDERR.print(f"{contacts:,} contacts judged: {len(findings):,} broke a rule")
    if not contacts:
        fail("no contact began in that time, so nothing was audited: check --from, --to and the data directory")
    raise typer.Exit(1 if findings else 0)


@ledger_app.command("export")
def export_ledger(
    output: Annotated[Path | None, typer.Option(help="A file; default: stdout.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Export every event with its hash, in order: one line of JSON each."""
    from gateway.app.storage import open_ledger
    from gateway.cli.ledger import evidence
    from gateway.core.security.private_files import open_private

    async def work(stop: asyncio.Event) -> int:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            if output is None:
                return await evidence.export(ledger.database, tenant, sys.stdout.write)
            with open_private(output, "w", "utf-8") as file:
                return await evidence.export(ledger.database, tenant, file.write)

    number = run(work)
    console.STDERR.print(f"{number:,} events")
