"""Who signs in: users, sessions and lock-out in the ledger, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from gateway.core.security.signing import Signer
from gateway.identity.sessions import Attempts, Sessions
from gateway.identity.users import BadUser, Role, Users
from gateway.storage.database import Database
from gateway.storage.tables.identity import users as table
from tests.support.storage.ledgers import NOW

PASSWORD = "correct horse battery staple"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def users(database: Database) -> Users:
    """The users of an empty ledger."""
    return Users(database)


@pytest.fixture
def sessions(database: Database) -> Sessions:
    """Nobody is signed in yet."""
    return Sessions(database, Signer(b"0123456789abcdef"))


@pytest.fixture
def attempts(database: Database) -> Attempts:
    """Nobody has failed yet."""
    return Attempts(database, Signer(b"0123456789abcdef"))


async def test_only_the_right_password_opens(users: Users) -> None:
    """The address is the same in any case; a wrong password and an unknown address have the same answer."""
    mei = await users.add("acme", "Mei", "Mei@example.com", "editor", PASSWORD, NOW)
    assert await users.check("MEI@example.com ", PASSWORD) == mei
    assert await users.check("mei@example.com", PASSWORD + "x") is None
    assert await users.check("nobody@example.com", PASSWORD) is None


async def test_a_password_is_stored_as_an_expensive_hash(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at RFC 9106's second recommended choice: 64 MiB, three passes, four lanes."""
    monkeypatch.setattr("gateway.identity.users.PasswordHasher", PasswordHasher)  # tests have a cheap one
    await Users(database).add("acme", "Mei", "mei@example.com", "editor", PASSWORD, NOW)
    stored = await database.read(lambda connection: connection.execute(select(table.c.password)).scalar_one())
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize(
    ("name", "email", "role", "password"),
    [
        ("Mei", "mei@example.com", "editor", "short"),
        ("Mei", "mei@example.com", "emperor", PASSWORD),
        ("", "mei@example.com", "editor", PASSWORD),
        ("Mei", "mei", "editor", PASSWORD),
        ("Mei", "taken@example.com", "editor", PASSWORD),
    ],
)
async def test_a_user_that_can_not_be_is_refused(users: Users, name: str, email: str, role: str, password: str) -> None:
    """Each with what to change."""
    await users.add("acme", "First", "taken@example.com", "viewer", PASSWORD, NOW)
    with pytest.raises(BadUser):
        await users.add("acme", name, email, role, password, NOW)


async def test_two_processes_add_the_same_address_once(users: Users, database: Database) -> None:
    """One of them is told that it is taken."""
    both = [each.add("acme", "Mei", "mei@example.com", "editor", PASSWORD, NOW) for each in (users, Users(database))]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(each, BadUser) for each in outcomes) == [False, True]


def test_each_role_may_what_those_before_it_may() -> None:
    """Viewer, then editor and approver, or agent, supervisor and compliance, or platform: none of another's rights."""
    assert {role.value: {needed.value for needed in Role if role.may(needed)} for role in Role} == {
        "viewer": {"viewer"},
        "editor": {"viewer", "editor"},
        "approver": {"viewer", "editor", "approver"},
        "agent": {"viewer", "agent"},
        "supervisor": {"viewer", "agent", "supervisor"},
        "compliance": {"viewer", "agent", "supervisor", "compliance"},
        "operator": {"viewer", "operator"},
        "platform": {"viewer", "operator", "platform"},
    }


async def test_a_session_ends_by_itself_and_at_sign_out(users: Users, sessions: Sessions) -> None:
    """After an hour without a request, after twelve hours in any case, and at once when it is closed."""
    mei = await users.add("acme", "Mei", "mei@example.com", "editor", PASSWORD, NOW)
    token = await sessions.open(mei, NOW)
    found = await sessions.find(token, NOW + 59 * MINUTE)
    assert found is not None
    assert found.user == mei
    assert await sessions.find(token, NOW + 118 * MINUTE) is not None  # seen an hour ago
    assert await sessions.find(token, NOW + 180 * MINUTE) is None
    other = await sessions.open(mei, NOW)
    for minutes in range(0, 12 * 60, 50):
        assert await sessions.find(other, NOW + minutes * MINUTE) is not None
    assert await sessions.find(other, NOW + 12 * 60 * MINUTE) is None
    last = await sessions.open(mei, NOW)
    opened = await sessions.find(last, NOW)
    assert opened is not None
    await sessions.close(opened)
    assert await sessions.find(last, NOW) is None


async def test_a_made_up_session_is_none(users: Users, sessions: Sessions) -> None:
    """Neither another's signature nor an id without one opens anything, and it costs no SQL."""
    token = await sessions.open(await users.add("acme", "Mei", "mei@example.com", "editor", PASSWORD, NOW), NOW)
    for wrong in ("", "x", token[:-1] + ("0" if token[-1] != "0" else "1"), "other" + token, token.partition(".")[0]):
        assert await sessions.find(wrong, NOW) is None


async def test_disabling_and_a_new_password_end_every_session(users: Users, sessions: Sessions) -> None:
    """Whoever had the old password, or a stolen cookie, is out at once."""
    mei = await users.add("acme", "Mei", "mei@example.com", "editor", PASSWORD, NOW)
    token = await sessions.open(mei, NOW)
    assert await users.disable("mei@example.com", NOW)
    assert not await users.disable("mei@example.com", NOW)
    assert await sessions.find(token, NOW) is None
    assert await users.check("mei@example.com", PASSWORD) is None
    assert await users.set_password("mei@example.com", PASSWORD + " again")
    assert await users.check("mei@example.com", PASSWORD + " again") is not None
    again = await sessions.open(mei, NOW)
    assert await users.set_password("mei@example.com", PASSWORD)
    assert await sessions.find(again, NOW) is None


async def test_failures_make_the_next_attempt_wait_longer(attempts: Attempts) -> None:
    """Four are free; from the fifth on the wait doubles, up to a quarter of an hour; a day later it is forgotten."""
    now, waits = NOW, []
    for _ in range(20):
        while wait := await attempts.begin("mei@example.com", "192.0.2.1", now):
            waits.append(wait.total_seconds())
            now += wait
    assert waits[:5] == [1, 2, 4, 8, 16]
    assert waits[-1] == 15 * 60
    assert not await attempts.begin("mei@example.com", "192.0.2.1", now + timedelta(days=1, minutes=16))


async def test_one_source_can_not_try_everybody(attempts: Attempts) -> None:
    """Thirty different addresses from one place, and then it waits; others go on."""
    refused = [await attempts.begin(f"user{number}@example.com", "192.0.2.1", NOW) for number in range(40)]
    assert [bool(each) for each in refused].index(True) == 30
    assert not await attempts.begin("mei@example.com", "192.0.2.9", NOW)


async def test_success_is_no_failure(attempts: Attempts) -> None:
    """A whole office behind one address signs in every morning."""
    for number in range(100):
        assert not await attempts.begin(f"user{number}@example.com", "192.0.2.1", NOW)
        await attempts.succeeded(f"user{number}@example.com", "192.0.2.1")
    for _ in range(3):
        assert not await attempts.begin("mei@example.com", "192.0.2.1", NOW)


async def test_many_attempts_at_once_are_no_way_around(attempts: Attempts) -> None:
    """Each is counted before its outcome is known, whichever process it reaches."""
    waits = await asyncio.gather(*(attempts.begin("mei@example.com", "192.0.2.1", NOW) for _ in range(20)))
    assert sum(not each for each in waits) == 5


async def test_a_stranger_keeps_nobody_out(attempts: Attempts) -> None:
    """Wrong guesses from one source make that source wait, and not the person at another one."""
    for _ in range(20):
        await attempts.begin("mei@example.com", "192.0.2.1", NOW)
    assert await attempts.begin("mei@example.com", "192.0.2.1", NOW)
    assert not await attempts.begin("mei@example.com", "192.0.2.9", NOW)


async def test_guesses_from_many_sources_wait_after_a_hundred_but_a_known_device_does_not(attempts: Attempts) -> None:
    """NIST SP 800-63B-4 section 3.2.2; the browser in which a person has signed in is counted by itself."""
    known, other = attempts.device("mei@example.com"), attempts.device("tom@example.com")
    waits = [await attempts.begin("mei@example.com", f"198.51.100.{number}", NOW) for number in range(110)]
    assert [bool(each) for each in waits].index(True) == 100
    assert not await attempts.begin("Mei@example.com ", "198.51.100.1", NOW, known)
    for forged in (other, known + "0", known.partition(".")[0], "."):
        assert await attempts.begin("mei@example.com", "192.0.2.7", NOW, forged)
    for _ in range(4):
        assert not await attempts.begin("mei@example.com", "198.51.100.1", NOW, known)
    assert await attempts.begin("mei@example.com", "198.51.100.1", NOW, known)  # a stolen cookie has its own limit
