"""Commands for users of the template editor.

A password is typed or piped, and never an argument: other users of the machine can read arguments, and shells keep them
in their history.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import console
from gateway.cli.ledger import acts
from gateway.cli.runner import fail, ledger_settings, run

if TYPE_CHECKING:
    from gateway.identity.users import User

app = typer.Typer(help="People who sign in to the pages, and their roles.", no_args_is_help=True)

_PASSWORD = "GATEWAY_USER_PASSWORD"
DataDir = Annotated[Path | None, typer.Option(help="The data directory of the embedded ledger (GATEWAY_DATA_DIR).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Email = Annotated[str, typer.Argument(help="The address with which the user signs in.")]
Tests = Annotated[
    list[str] | None,
    typer.Option("--test-address", help="CHANNEL=ADDRESS of the user for test messages; may be repeated."),
]


@app.command()
def add(
    email: Email,
    tenant: Annotated[str, typer.Option(help="The tenant whose templates the user may open.")],
    name: Annotated[str, typer.Option(help="The name that other users see.")],
    role: Annotated[
        str,
        typer.Option(
            help="viewer; editor: writes, submits; approver: approves, publishes too; platform: totals of all tenants."
        ),
    ],
    test_address: Tests = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Add a user of /editor. The password is read from GATEWAY_USER_PASSWORD, from a pipe, or from a prompt.

    Check that a --test-address belongs to the user: test messages are sent there without a confirmation.
    """
    from gateway.app.storage import open_ledger
    from gateway.identity.users import BadUser

    addresses = _addresses(test_address or [])
    password = _password()

    async def work(stop: asyncio.Event) -> User:
        async with (
            open_ledger(ledger_settings(data_dir), locked=False) as ledger,
            acts.recorded(ledger, "user add", tenant),
        ):
            try:
                return await ledger.users.add(tenant, name, email, role, password, ledger.clock(), addresses)
            except BadUser as error:
                fail(str(error), 2)

    user = run(work)
    if as_json:
        typer.echo(json.dumps({"id": user.id}))
    else:
        console.STDERR.print(f"user {user.id} may sign in at {ledger_settings(data_dir).effective_public_url}/editor")


@app.command("list")
def list_users(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List all users, also disabled ones."""
    from gateway.app.storage import open_ledger
    from gateway.core.codec import instant

    async def work(stop: asyncio.Event) -> list[dict[str, str]]:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            return [
                {
                    "id": each.id,
                    "tenant": each.tenant,
                    "email": each.email,
                    "name": each.name,
                    "role": str(each.role),
                    "created_at": instant(each.created_at) or "",
                    "disabled_at": instant(each.disabled_at) or "",
                }
                for each in await ledger.users.list(tenant)
            ]

    found = run(work)
    columns = ("id", "tenant", "email", "name", "role", "created_at", "disabled_at")
    console.listing(found, columns, as_json=as_json)


@app.command()
def disable(email: Email, data_dir: DataDir = None) -> None:
    """Disable a user and end all sessions. Earlier acts keep the user's name; set-password enables the user again."""
    from gateway.app.storage import open_ledger

    async def work(stop: asyncio.Event) -> bool:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            user = await ledger.users.find(email)
            if user is None:
                return False
            async with acts.recorded(ledger, "user disable", user.tenant, user_id=user.id):
                return await ledger.users.disable(email, ledger.clock())

    if not run(work):
        fail("there is no user with this address who could sign in")
    console.STDERR.print("disabled, and signed out everywhere")


@app.command("set-password")
def set_password(email: Email, data_dir: DataDir = None) -> None:
    """Set a new password and end all sessions of the user."""
    from gateway.app.storage import open_ledger
    from gateway.identity.users import BadUser

    password = _password()

    async def work(stop: asyncio.Event) -> bool:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            user = await ledger.users.find(email)
            if user is None:
                return False
            async with acts.recorded(ledger, "user set-password", user.tenant, user_id=user.id):
                try:
                    return await ledger.users.set_password(email, password)
                except BadUser as error:
                    fail(str(error), 2)

    if not run(work):
        fail("there is no user with this address")
    console.STDERR.print("the password is set; earlier sessions have ended")


@app.command()
def sessions(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's people.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Who is signed in, the latest first."""
    from gateway.app.storage import open_ledger
    from gateway.core.codec import instant
    from gateway.identity.sessions import Sessions

    async def work(stop: asyncio.Event) -> list[dict[str, str]]:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            found = await Sessions(ledger.database, ledger.signer).list(ledger.clock(), tenant)
            return [
                {
                    "session": each.name,
                    "user": each.user.id,
                    "tenant": each.user.tenant,
                    "email": each.user.email,
                    "role": str(each.user.role),
                    "since": instant(each.since) or "",
                    "seen_at": instant(each.seen_at) or "",
                }
                for each in found
            ]

    columns = ("session", "user", "tenant", "email", "role", "since", "seen_at")
    console.listing(run(work), columns, as_json=as_json)


@app.command("end-sessions")
def end_sessions(
    email: Annotated[str, typer.Argument(help="The address of the person to sign out everywhere.")] = "",
    session: Annotated[str, typer.Option(help="Only this one, as gateway user sessions shows it.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Sign somebody out: they may sign in again. To keep them out as well: gateway user disable."""
    from gateway.app.storage import open_ledger
    from gateway.identity.sessions import Sessions

    if bool(email) == bool(session):
        fail("name either a person's address, or --session", 2)

    async def work(stop: asyncio.Event) -> int:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            live = Sessions(ledger.database, ledger.signer)
            if session:
                users = [each.user for each in await live.list(ledger.clock()) if each.name == session]
            else:
                found = await ledger.users.find(email)
                users = [] if found is None else [found]
            if not users:
                return 0
            [user] = users
            async with acts.recorded(ledger, "user end-sessions", user.tenant, user_id=user.id):
                return int(await live.end(session)) if session else await live.end_all(user.id)

    count = run(work)
    if not count:
        fail("there is no such session")
    console.STDERR.print(f"{count} ended")


def _password() -> str:
    given = os.environ.get(_PASSWORD)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _addresses(given: list[str]) -> dict[str, str]:
    from channels import registry

    channels, found = registry.discover(), {}
    for each in given:
        channel, _, address = each.partition("=")
        if channel not in channels:
            fail(f"--test-address: there is no channel {channel!r}; write one of {', '.join(channels)}, =, address", 2)
        try:
            found[channel] = channels[channel].normalise(address)
        except ValueError as error:
            fail(f"--test-address {channel}: {error}", 2)
    return found
