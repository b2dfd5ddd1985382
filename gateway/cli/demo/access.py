"""The demo's API key and users. They stay the same over restarts on one data directory.

Owns DATA_DIR/demo-access.json, which only its owner can read: a key and a password can't be read from the ledger.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gateway.app.app import Gateway
from gateway.core.security.private_files import open_private
from gateway.identity.keys import Scope, split

TENANT = "demo"
_KEY_NAME = "demo"
_TEST_ADDRESSES = {"sms": "+12025550123", "email": "editor@demo.example"}
# Who signs in to which page: address, name, role, page. Names, addresses and numbers are fictional.
PEOPLE = (
    ("editor@demo.example", "Mei Lin", "editor", "/editor"),
    ("approver@demo.example", "Tom Hale", "approver", "/journeys"),
    ("desk@demo.example", "Cora Lau", "compliance", "/desk"),
    ("operations@demo.example", "Sam Ng", "platform", "/ops"),
)


@dataclass(frozen=True, slots=True)
class DemoAccess:
    """The API key with all scopes, and the password of every user."""

    api_key: str = field(repr=False)
    password: str = field(repr=False)


async def grant(gateway: Gateway, data_dir: Path) -> DemoAccess:
    """The access of the last run where it is still valid, else a new one. Raises Unavailable, OSError."""
    path = data_dir / "demo-access.json"
    known = _read(path)
    key = known.api_key if known and await _is_valid(gateway, known.api_key) else await _new_key(gateway)
    password = known.password if known else secrets.token_urlsafe(15)
    await _people(gateway, password)
    access = DemoAccess(key, password)
    if access != known:
        with open_private(path, "w", "utf-8") as file:
            json.dump(asdict(access), file)
    return access


def _read(path: Path) -> DemoAccess | None:
    """None: there is none, or it is no access; then a new one takes its place."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return DemoAccess(str(found["api_key"]), str(found["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def _is_valid(gateway: Gateway, text: str) -> bool:
    """Whether it is a key of the demo that was not revoked, with every scope that there is by now."""
    parts = split(text)
    key = await gateway.ledger.keys.find(parts[0]) if parts else None
    if parts is None or key is None or key.revoked_at is not None or key.scopes != frozenset(Scope):
        return False
    return key.tenant == TENANT and gateway.ledger.keys.matches(key, parts[1])


async def _new_key(gateway: Gateway) -> str:
    """A new key; earlier ones, whose text is lost, are revoked."""
    now = gateway.ledger.clock()
    for key in await gateway.ledger.keys.list(TENANT):
        if key.name == _KEY_NAME and key.revoked_at is None:
            await gateway.ledger.keys.revoke(key.id, now)
    _, secret = await gateway.ledger.keys.create(TENANT, _KEY_NAME, list(Scope), now)
    return secret


async def _people(gateway: Gateway, password: str) -> None:
    """The users with this password. It is set again only where it is another one, because that ends their sessions."""
    users, now = gateway.ledger.users, gateway.ledger.clock()
    for email, name, role, _ in PEOPLE:
        if await users.find(email) is None:
            await users.add(TENANT, name, email, role, password, now, _TEST_ADDRESSES)
        elif await users.check(email, password) is None:
            await users.set_password(email, password)
