"""Sign-in by OpenID Connect at a real provider's process: who comes in, who doesn't, and how it ends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from gateway.app.app import Gateway
from gateway.app.settings import Settings
from gateway.cli.doctor import outside
from gateway.identity.sessions import Sessions
from tests.support.api_gateway import app_of, open_api_gateway, serving
from tests.support.production import free_port
from tests.support.providers.oidc import CLIENT_ID, CLIENT_SECRET, PersonsBrowser, provider

ACCOUNTS: dict[str, dict[str, Any]] = {
    "mei": {"email": "mei@acme.example", "email_verified": True, "name": "Mei", "groups": ["x", "editors"]},
    "otto": {"email": "otto@acme.example", "email_verified": True, "name": "Otto", "groups": ["operations"]},
    "guest": {"email": "guest@acme.example", "email_verified": True, "groups": ["nobody"]},
    "lost": {"email": "lost@acme.example", "groups": ["editors"], "lender": "unknown"},
    "forger": {"email": "known@acme.example", "email_verified": False, "groups": ["editors"]},
}
for _each in ACCOUNTS.values():
    _each.setdefault("lender", "ACME Ltd")
PASSWORD = "a long password of a test"


@dataclass
class Bank:
    """A gateway whose people sign in at the provider."""

    gateway: Gateway
    url: str
    issuer_port: int
    stack: AsyncExitStack

    async def browser(self) -> PersonsBrowser:
        made = PersonsBrowser()
        self.stack.push_async_callback(made.http.close)
        return made

    async def to_callback(self, browser: PersonsBrowser, account: str, back: str = "/editor") -> str:
        """The address by which the provider sends the browser back, not called yet."""
        begin = f"{self.url}/editor/sign-in/provider?back={quote(back)}"
        return await browser.until(begin, f"{self.url}/editor/sign-in/provider/callback", account)

    async def sign_in(self, browser: PersonsBrowser, account: str, back: str = "/editor") -> tuple[int, str, str]:
        return await browser.get(await self.to_callback(browser, account, back))


@asynccontextmanager
async def bank(tmp_path: Path, redis_url: str, **changes: Any) -> AsyncIterator[Bank]:
    port, issuer_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    oidc = {
        "issuer": f"http://127.0.0.1:{issuer_port}",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "roles_claim": "groups",
        "roles": {"editors": "editor", "operations": "platform"},
        "tenant_claim": "lender",
        "tenants": {"ACME Ltd": "acme"},
        **changes,
    }
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(
            open_api_gateway(tmp_path, redis_url, clock=lambda: datetime.now(UTC), public_url=url, oidc=oidc)
        )
        await stack.enter_async_context(serving(app_of(gateway), port))
        yield Bank(gateway, url, issuer_port, stack)


async def test_a_person_signs_in_and_out(tmp_path: Path, redis_url: str) -> None:
    """Role and tenant by claims; the page that was wanted; an hour at most; out here, with the way out there."""
    async with bank(tmp_path, redis_url) as here, provider(here.issuer_port, here.url, ACCOUNTS):
        browser = await here.browser()
        status, location, _ = await here.sign_in(browser, "mei", "/editor/new")
        assert (status, location) == (303, f"{here.url}/editor/new")
        found = await here.gateway.ledger.users.find("mei@acme.example")
        assert found is not None
        assert (found.tenant, found.role, found.name) == ("acme", "editor", "Mei")
        status, _, page = await browser.get(f"{here.url}/editor")
        assert status == 200
        live = Sessions(here.gateway.ledger.database, here.gateway.ledger.signer)
        now = datetime.now(UTC)
        assert [each.user.id for each in await live.list(now)] == [found.id]
        assert await live.list(now + timedelta(minutes=61)) == []
        token = re.search(r'name="form_token" value="([^"]+)"', page)
        assert token is not None
        form = {"form_token": token[1]}
        async with browser.http.post(f"{here.url}/editor/sign-out", data=form, allow_redirects=False) as response:
            assert response.headers["Location"] == "/editor/signed-out"
        _, _, page = await browser.get(f"{here.url}/editor/signed-out")
        end = re.search(r'href="([^"]*session/end[^"]*)"', page)
        assert end is not None
        status, _, asked = await browser.get(end[1].replace("&amp;", "&"))
        assert (status, "logout" in asked.lower()) == (200, True)
        assert (await browser.get(f"{here.url}/editor"))[0] == 303
        assert await here.gateway.ledger.users.check("mei@acme.example", "") is None  # and no password is right
        again = await here.browser()
        assert (await here.sign_in(again, "mei"))[0] == 303
        assert len(await here.gateway.ledger.users.list()) == 1
        [finding] = await outside.sign_in(here.gateway.ledger.settings)
        assert finding.level == "ok"


@pytest.mark.parametrize(
    ("account", "words"), [("guest", "no role here"), ("lost", "which lender"), ("forger", "Somebody else here")]
)
async def test_who_is_not_known_here_gets_a_clear_page(
    tmp_path: Path, redis_url: str, account: str, words: str
) -> None:
    """No role, no tenant, and an address that is another person's and that the provider has not verified."""
    async with bank(tmp_path, redis_url) as here, provider(here.issuer_port, here.url, ACCOUNTS):
        users, now = here.gateway.ledger.users, datetime.now(UTC)
        await users.add("acme", "Known", "known@acme.example", "viewer", PASSWORD, now)
        status, _, page = await here.sign_in(await here.browser(), account)
        assert status == 403
        assert words in page
        assert len(await users.list()) == 1


async def test_a_disabled_user_stays_out_and_a_password_user_is_recognised(tmp_path: Path, redis_url: str) -> None:
    """Who had a password is the same person by a verified address of the same tenant; disabled here is disabled."""
    async with bank(tmp_path, redis_url) as here, provider(here.issuer_port, here.url, ACCOUNTS):
        users, now = here.gateway.ledger.users, datetime.now(UTC)
        before = await users.add("acme", "M", "mei@acme.example", "viewer", PASSWORD, now)
        assert (await here.sign_in(await here.browser(), "mei"))[0] == 303
        after = await users.find("mei@acme.example")
        assert after is not None
        assert (after.id, after.role) == (before.id, "editor")
        await users.disable("mei@acme.example", now)
        status, _, page = await here.sign_in(await here.browser(), "mei")
        assert (status, "disabled" in page) == (403, True)


async def test_an_answer_counts_once_and_in_the_browser_that_asked(tmp_path: Path, redis_url: str) -> None:
    """A replayed state, another browser's answer, a made-up one, a foreign issuer, a way back to another site."""
    async with bank(tmp_path, redis_url) as here, provider(here.issuer_port, here.url, ACCOUNTS):
        browser, other = await here.browser(), await here.browser()
        answer = await here.to_callback(browser, "mei", "//evil.example/x")
        state = parse_qs(urlsplit(answer).query)["state"][0]
        status, _, page = await other.get(answer)  # a victim who is led to the attacker's answer
        assert (status, "too old" in page) == (403, True)
        cookie = {"gateway_sign_in": state}
        async with browser.http.get(answer, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/editor")
        async with other.http.get(answer, cookies=cookie, allow_redirects=False) as response:
            assert (response.status, "too old" in await response.text()) == (403, True)
        made_up = f"{here.url}/editor/sign-in/provider/callback?code=x&state=y"
        assert (await browser.get(made_up))[0] == 403
        third = await here.browser()
        answer = await here.to_callback(third, "mei")
        foreign = answer.replace(quote(f"http://127.0.0.1:{here.issuer_port}", safe=""), "https%3A%2F%2Fevil.example")
        assert foreign != answer
        assert (await third.get(foreign))[0] == 403
        fourth = await here.browser()
        answer = await here.to_callback(fourth, "mei")
        code = parse_qs(urlsplit(answer).query)["code"][0]
        assert (await fourth.get(answer.replace(code, "not-this-code")))[0] == 403
        assert (
            len(await Sessions(here.gateway.ledger.database, here.gateway.ledger.signer).list(datetime.now(UTC))) == 1
        )


async def test_the_provider_changes_its_keys_and_goes_away(tmp_path: Path, redis_url: str) -> None:
    """New keys are found at the first token by them; without the provider there is a page, and passwords still work."""
    async with bank(tmp_path, redis_url) as here:
        for _ in range(2):  # each start has new keys
            async with provider(here.issuer_port, here.url, ACCOUNTS):
                assert (await here.sign_in(await here.browser(), "mei"))[0] == 303
        waiting = await here.browser()
        async with provider(here.issuer_port, here.url, ACCOUNTS):
            answer = await here.to_callback(waiting, "mei")
        status, _, page = await waiting.get(answer)
        assert status == 403
        assert "reached" in page
        _, _, page = await waiting.get(f"{here.url}/editor/sign-in")
        assert 'name="password"' in page
    [finding] = await outside.sign_in(Settings(oidc={**_settings(here)}))
    assert finding.level == "error"


async def test_passwords_can_be_switched_off(tmp_path: Path, redis_url: str) -> None:
    """Neither the form nor a post of it; the button stays."""
    async with bank(tmp_path, redis_url, passwords=False) as here:
        await here.gateway.ledger.users.add("acme", "M", "m@acme.example", "viewer", PASSWORD, datetime.now(UTC))
        browser = await here.browser()
        _, _, page = await browser.get(f"{here.url}/editor/sign-in")
        assert 'name="password"' not in page
        assert "/editor/sign-in/provider" in page
        form = {"email": "m@acme.example", "password": PASSWORD}
        async with browser.http.post(f"{here.url}/editor/sign-in", data=form, allow_redirects=False) as response:
            assert (response.status, "switched off" in await response.text()) == (403, True)


async def test_an_operator_ends_a_session_on_the_page(tmp_path: Path, redis_url: str) -> None:
    """Only the role platform sees who is signed in; an ended session is over at once."""
    async with bank(tmp_path, redis_url) as here, provider(here.issuer_port, here.url, ACCOUNTS):
        editor, operator = await here.browser(), await here.browser()
        await here.sign_in(editor, "mei")
        await here.sign_in(operator, "otto")
        assert (await editor.get(f"{here.url}/ops/sessions"))[0] == 403
        _, _, page = await operator.get(f"{here.url}/ops/sessions")
        found = re.search(
            r'action="(/ops/sessions/[0-9a-f]+/end)"><input type="hidden" name="form_token" '
            r'value="([^"]+)"><button class="small" aria-label="End: Mei"',
            page,
        )
        assert found is not None, page
        target, form = f"{here.url}{found[1]}", {"form_token": found[2]}
        async with editor.http.post(target, data=form, allow_redirects=False) as response:
            assert response.status == 403
        async with operator.http.post(target, data=form, allow_redirects=False) as response:
            assert response.status == 303
        assert (await editor.get(f"{here.url}/editor"))[0] == 303
        assert (await operator.get(f"{here.url}/ops/sessions"))[0] == 200


def _settings(here: Bank) -> dict[str, Any]:
    chosen = here.gateway.ledger.settings.oidc
    assert chosen is not None
    return {**chosen.model_dump(), "client_secret": CLIENT_SECRET}
