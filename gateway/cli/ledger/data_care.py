"""Commands for the ledger's data: retention and archives, legal holds, backups, restores, disk space."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.cli import console
from gateway.cli.ledger import acts
from gateway.cli.runner import fail, full_id, ledger_settings, run, settings

if TYPE_CHECKING:
    from gateway.app.settings import Settings
    from gateway.app.storage import LedgerParts
    from gateway.retention.retention import Retention

T = TypeVar("T")

DataDir = Annotated[Path | None, typer.Option(help="The data directory of the embedded ledger (GATEWAY_DATA_DIR).")]
AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON on stdout.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept as evidence.")]
Actor = Annotated[str, typer.Option("--by", help="Who does this; default: this machine's user.", envvar="USER")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup's own folder.")]


def install(app: typer.Typer) -> None:
    """Add these to ``gateway ledger``."""
    for command in (prune, hold, release, holds, backup, restore, quarantine, vacuum, sizes, redigest):
        app.command()(command)


def prune(
    archive: Annotated[Path | None, typer.Option(help="Where what goes is written first, as .jsonl.gz.")] = None,
    no_archive: Annotated[bool, typer.Option("--no-archive", help="Keep no copy of what goes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    most: Annotated[int, typer.Option(min=1, help="At most so many notifications in this run.")] = 5_000_000,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove data whose retention period (GATEWAY_KEEP_…_DAYS) has ended, except on legal hold. Run it daily."""
    from gateway.retention.erasing import RemovalCounts

    if not dry_run and (archive is None) != no_archive:
        fail("say where what goes is written: --archive FOLDER, or --no-archive to keep no copy", 2)
    chosen = ledger_settings(data_dir)

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> RemovalCounts:
        retention = _retention(ledger)
        if dry_run:
            return await retention.due()
        async with acts.recorded(ledger, "ledger prune"):
            return await retention.prune(archive, most=most, stop=stop)

    found = asdict(_with_ledger(chosen, work))
    if as_json:
        typer.echo(json.dumps(found))
        return
    counted = [(name, number) for name, number in found.items() if isinstance(number, int)]
    console.STDOUT.print(console.table(None, ("class", "would go" if dry_run else "gone"), counted))
    if found["archived"]:
        console.STDERR.print(f"written to {archive}/{found['archived']}")


def _retention(ledger: LedgerParts) -> Retention:
    from gateway import policy
    from gateway.app.templates import policies_folder
    from gateway.retention.erasing import RetentionPeriods
    from gateway.retention.retention import Retention

    chosen = ledger.settings
    days = (chosen.keep_records_days, chosen.keep_contents_days, chosen.keep_feed_days, chosen.keep_orphans_days)
    keep = RetentionPeriods(*(timedelta(days=each) for each in days))
    try:
        horizon = policy.load_packs(policies_folder(chosen)).contact_horizon
    except policy.PackError as error:
        fail(f"policies: {error}")
    try:
        return Retention(ledger.database, keep, ledger.clock, horizon)
    except ValueError as error:
        fail(f"GATEWAY_KEEP_RECORDS_DAYS: {error}", 2)


def hold(
    reason: Reason,
    tenant: Annotated[str, typer.Option(help="Whose records.")],
    borrower: Annotated[str, typer.Option(help="Of this borrower; default: of all.")] = "",
    case: Annotated[str, typer.Option(help="Of this case; default: of all.")] = "",
    actor: Actor = "unknown",
    data_dir: DataDir = None,
) -> None:
    """Put records on legal hold: they are not removed or erased until the hold is released."""
    from gateway.retention.legal_holds import LegalHolds

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> str:
        async with acts.recorded(ledger, "ledger hold", tenant, borrower_id=borrower, case_id=case):
            return await LegalHolds(ledger.database, ledger.clock).put(tenant, borrower, case, reason, f"cli:{actor}")

    typer.echo(_with_ledger(ledger_settings(data_dir), work, locked=False))


def release(
    hold_id: Annotated[str, typer.Argument(metavar="ID")], actor: Actor = "unknown", data_dir: DataDir = None
) -> None:
    """End a legal hold. The next prune removes its records if their retention period has ended."""
    from gateway.retention.legal_holds import LegalHolds

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> None:
        holds = LegalHolds(ledger.database, ledger.clock)
        known = {str(each["id"]): str(each["tenant"]) for each in await holds.list(released=False)}
        identifier = full_id(hold_id, known, "gateway ledger holds")
        async with acts.recorded(ledger, "ledger release", known[identifier], hold_id=identifier):
            await holds.release(identifier, f"cli:{actor}")

    _with_ledger(ledger_settings(data_dir), work, locked=False)


def holds(
    released: Annotated[bool, typer.Option("--all", help="Released ones, too.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List the legal holds in force."""
    from gateway.retention.legal_holds import LegalHolds

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> list[dict[str, Any]]:
        return await LegalHolds(ledger.database, ledger.clock).list(released=released)

    found = _with_ledger(ledger_settings(data_dir), work, locked=False)
    columns = ("id", "tenant", "borrower_id", "case_id", "reason", "actor", "since", "released_at")
    console.listing(found, columns, as_json=as_json)


def backup(folder: Folder, data_dir: DataDir = None) -> None:
    """Back up the ledger while it is in use, with a manifest to check the copy by."""
    from gateway.retention.backup import BackupFailed, back_up

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> dict[str, Any]:
        key_check = ledger.signer.key_checks()[1]
        async with acts.recorded(ledger, "ledger backup"):
            try:
                return await asyncio.to_thread(back_up, ledger.database.engine, folder, key_check, ledger.clock())
            except BackupFailed as failed:
                fail(str(failed))

    found = _with_ledger(ledger_settings(data_dir), work, locked=False)
    rows = sum(found["rows"].values())
    console.STDERR.print(f"{rows:,} rows of {len(found['rows'])} tables in {folder}; the secret key is not in it")


def restore(
    folder: Folder,
    reason: Reason = "",
    actor: Actor = "unknown",
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into an empty ledger, check it, and quarantine what may have been sent since."""
    from gateway.cli.ledger import evidence
    from gateway.operations.quarantine import Quarantine, QuarantineResult
    from gateway.retention.backup import BackupFailed, read_manifest
    from gateway.retention.backup import restore as restore_backup
    from gateway.storage.upgrade.migrate import migrate

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> tuple[QuarantineResult, evidence.Findings, str]:
        try:
            manifest = await asyncio.to_thread(read_manifest, folder)
            engine, key_check = ledger.database.engine, ledger.signer.key_checks()[1]
            await asyncio.to_thread(restore_backup, engine, folder, manifest, key_check)
            await asyncio.to_thread(migrate, engine)  # a backup of an older version
        except BackupFailed as failed:
            fail(str(failed))
        found = await evidence.verify(ledger.database)
        hold_reason = reason or f"backup of {manifest['made_at']}"
        async with acts.recorded(ledger, "ledger restore"):  # now that there is a ledger to record it in
            held = await Quarantine(ledger.database, ledger.signer.digest, ledger.clock).hold(
                hold_reason, f"cli:{actor}"
            )
        return held, found, manifest["made_at"]

    held, found, made_at = _with_ledger(settings(data_dir=data_dir), work, migrated=False, create=True)
    console.STDERR.print(f"restored as of {made_at}: {found.events:,} events of {found.subjects:,} subjects")
    for subject, detail in found.broken:
        typer.echo(f"{subject}: {detail}")
    _say_held(held)
    raise typer.Exit(1 if found.broken else 0)


def quarantine(
    reason: Reason,
    everything: Annotated[bool, typer.Option("--all", help="Also what is due later.")] = False,
    actor: Actor = "unknown",
    data_dir: DataDir = None,
) -> None:
    """After another kind of restore: pause sending, and hold for review what may have been sent since the backup."""
    from gateway.operations.quarantine import Quarantine, QuarantineResult

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> QuarantineResult:
        found = Quarantine(ledger.database, ledger.signer.digest, ledger.clock)
        async with acts.recorded(ledger, "ledger quarantine"):
            return await found.hold(reason, f"cli:{actor}", everything=everything)

    _say_held(_with_ledger(ledger_settings(data_dir), work))


def _say_held(held: Any) -> None:
    say = console.STDERR.print
    say(f"{held.due:,} deliveries and {held.next_steps:,} next steps wait for review (reason: restored)")
    say(f"everything is paused by {held.pause}; before resuming it see ops/deploy/README.md, after a restore")


def vacuum(data_dir: DataDir = None) -> None:
    """Free the disk space of removed data. SQLite: while the gateway is stopped. PostgreSQL: at any time."""
    from gateway.retention.sizes import vacuum as give_back

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> None:
        await asyncio.to_thread(give_back, ledger.database.engine)

    _with_ledger(ledger_settings(data_dir), work)


def sizes(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show the size of each table with its indexes, in total and per notification."""
    from gateway.retention.sizes import Size, measure

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> list[Size]:
        return await ledger.database.read(measure)

    found = _with_ledger(ledger_settings(data_dir), work, locked=False)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found]))
        return
    per = max(1, next(each.rows for each in found if each.table == "notifications"))
    body = [(each.table, each.rows, each.table_bytes, each.index_bytes, round(each.bytes / per)) for each in found]
    columns = ("table", "rows", "bytes", "of indexes", "per notification")
    console.STDOUT.print(console.table(None, columns, body))
    console.STDERR.print(f"{sum(each.bytes for each in found) / per:,.0f} bytes for one of {per:,} notifications")


def redigest(
    check: Annotated[bool, typer.Option("--check", help="Only count; exit status 1 while anything is left.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Bring all digests of addresses to the digest key that writes (Keys in ops/deploy/README.md).

    While the gateway runs; may be stopped and begun again. An earlier digest key that has leaked is harmless once
    nothing is left; a later one than the one that writes may then be taken out of the secret.
    """
    from gateway.storage.upgrade.digest_key import forget_later_keys, has_digest_keys
    from gateway.storage.upgrade.redigest import DigestsByVersion, Redigest

    async def work(ledger: LedgerParts, stop: asyncio.Event) -> DigestsByVersion:
        signer, redigests = ledger.signer, Redigest(ledger.database)
        if not await has_digest_keys(ledger.database, signer.key_checks(), signer.known_key_checks()):
            fail("GATEWAY_SECRET_KEY has not the keys of this ledger's digests: give those keys back", 2)
        if not check:
            async with acts.recorded(ledger, "ledger redigest"):
                await redigests.run()
        left = await redigests.remaining()
        if not check and not left.total:
            await forget_later_keys(ledger.database, signer.digest_version)
        return left

    left = _with_ledger(ledger_settings(data_dir), work, locked=False)
    if as_json:
        typer.echo(json.dumps(asdict(left)))
    else:
        console.STDOUT.print(console.table(None, ("by another digest key", "rows"), list(asdict(left).items())))
    raise typer.Exit(1 if left.total else 0)


def _with_ledger(
    chosen: Settings,
    work: Callable[[LedgerParts, asyncio.Event], Awaitable[T]],
    *,
    locked: bool = True,
    migrated: bool = True,
    create: bool = False,
) -> T:
    from gateway.app.storage import open_ledger

    async def open_and_work(stop: asyncio.Event) -> T:
        async with open_ledger(chosen, locked=locked, migrated=migrated, create=create) as ledger:
            return await work(ledger, stop)

    return run(open_and_work)
