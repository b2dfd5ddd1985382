"""Access control of /editor without a browser: sign-in, forms, roles, tenants, and framing."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway.identity.sessions import Attempts
from gateway.identity.users import Role
from gateway.web.access import safe_back_path
from gateway.web.editor import forms
from tests.support.app_client import AppClient
from tests.support.pages.browser import PASSWORD

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEMPLATE = "/editor/templates/overdue-first"


@dataclass
class Person:
    """Somebody's browser, as far as HTTP goes, before the pages of a lender of their own."""

    http: aiohttp.ClientSession
    tenant: str
    token: str = ""

    def email(self, name: str) -> str:
        return f"{name}@{self.tenant}.example"

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        async with self.http.get(path, allow_redirects=False, **options) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, form: dict[str, str] | None = None, **options: Any) -> tuple[int, str]:
        fields = {"form_token": self.token, **(form or {})}
        async with self.http.post(path, data=fields, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers.get("location", "") or await answer.text()

    async def sign_in(self, email: str, password: str = PASSWORD) -> int:
        _, page = await self.get("/editor/sign-in")
        self.token = _token(page)
        status, _ = await self.post("/editor/sign-in", {"email": email, "password": password})
        if status == 303:
            _, page = await self.get("/editor")
            self.token = _token(page)
        return status


def _token(page: str) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', page)
    assert found, page[:500]
    return found[1]


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(shared_app_client: AppClient) -> AsyncIterator[Person]:
    """A browser in which nobody is signed in; its lender has a user of each role, and another lender an approver."""
    users, now = shared_app_client.gateway.ledger.users, shared_app_client.gateway.ledger.clock()
    jar = aiohttp.CookieJar(unsafe=True)  # loopback is an address, not a name
    async with aiohttp.ClientSession(shared_app_client.url, cookie_jar=jar) as http:
        made = Person(http, f"t{os.urandom(4).hex()}")
        for role in Role:
            await users.add(made.tenant, role.title(), made.email(role), role, PASSWORD, now)
        await users.add(f"{made.tenant}-other", "Other", made.email("other"), "approver", PASSWORD, now)
        yield made


async def test_every_page_wants_a_sign_in_and_leads_back(stranger: Person) -> None:
    """And the way back is one of ours."""
    async with stranger.http.get(f"{TEMPLATE}?x=1", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (303, f"/editor/sign-in?back={TEMPLATE}%3Fx%3D1")
    assert await stranger.sign_in(stranger.email("editor")) == 303
    async with stranger.http.get("/editor/sign-in?back=//evil.example", allow_redirects=False) as answer:
        assert answer.headers["location"] == "/editor"
    for path in ("//evil.example", "/\\evil.example", "https://evil.example", "/editor\nx", "/v1/keys"):
        assert safe_back_path(path) == "/editor"


async def test_a_failure_says_nothing_and_many_have_to_wait(stranger: Person, shared_app_client: AppClient) -> None:
    """A wrong password and an unknown address have one answer; after many failures even the right one has to wait."""
    answers = []
    for email in (stranger.email("editor"), "nobody@example.com"):
        _, page = await stranger.get("/editor/sign-in")
        stranger.token = _token(page)
        status, text = await stranger.post("/editor/sign-in", {"email": email, "password": "wrong password here"})
        answers.append((status, text.replace(email, "")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403
    ledger = shared_app_client.gateway.ledger
    attempts, now = Attempts(ledger.database, ledger.signer), ledger.clock()
    for _ in range(24):  # from elsewhere, one after the other
        now += await attempts.begin(stranger.email("editor"), "192.0.2.1", now)
    assert await stranger.sign_in(stranger.email("editor")) == 429
    assert await stranger.sign_in(stranger.email("approver")) == 303


async def test_a_session_is_a_cookie_that_no_script_reads_and_that_sign_out_ends(stranger: Person) -> None:
    """HttpOnly, SameSite, and useless afterwards, wherever it was copied to."""
    _, page = await stranger.get("/editor/sign-in")
    fields = {"form_token": _token(page), "email": stranger.email("editor"), "password": PASSWORD}
    async with stranger.http.post("/editor/sign-in", data=fields, allow_redirects=False) as answer:
        cookies = [each.lower() for each in answer.headers.getall("set-cookie")]
    [cookie] = [each for each in cookies if each.startswith("gateway_session=")]
    assert all("httponly" in each and "samesite" in each for each in cookies)
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    copied = {"cookie": cookie.partition(";")[0].replace("gateway_session", "gateway_session")}
    _, page = await stranger.get("/editor")
    stranger.token = _token(page)
    status, _ = await stranger.post("/editor/sign-out")
    assert status == 303
    async with aiohttp.ClientSession(stranger.http._base_url, headers=copied) as thief:
        assert (await Person(thief, stranger.tenant).get("/editor"))[0] == 303


async def test_a_form_from_elsewhere_is_refused(stranger: Person) -> None:
    """Without the session's own token nothing is done; a signed-out sender gets their text back."""
    await stranger.sign_in(stranger.email("editor"))
    right, stranger.token = stranger.token, "0" * 64
    assert (await stranger.post(f"{TEMPLATE}/begin"))[0] == 403
    assert (await stranger.post(f"{TEMPLATE}/begin", headers={"X-Form-Token": right}))[0] == 303
    stranger.http.cookie_jar.clear()
    status, text = await stranger.post(f"{TEMPLATE}/1/save", {"f.en-US/sms.liquid": "<b>my words</b>"})
    assert status == 401
    assert "&lt;b&gt;my words&lt;/b&gt;" in text


# What each role may send. The answer of those who may is anything but a refusal of the role.
NEEDED = {
    "begin": Role.EDITOR,
    "1/save": Role.EDITOR,
    "1/submit": Role.EDITOR,
    "1/locale": Role.EDITOR,
    "1/mail-form": Role.EDITOR,
    "1/variable": Role.EDITOR,
    "1/discard": Role.EDITOR,
    "1/test": Role.EDITOR,
    "1/explain": Role.EDITOR,
    "1/provider-templates/enter": Role.EDITOR,
    "1/provider-templates/report": Role.EDITOR,
    "1/approve": Role.APPROVER,
    "1/reject": Role.APPROVER,
    "1/comment": Role.APPROVER,
    "1/publish": Role.APPROVER,
    "1/unschedule": Role.APPROVER,
    "roll-back": Role.APPROVER,
}


async def test_every_verb_is_in_the_table_of_roles() -> None:
    """A new verb has to be given its role here."""
    routes: Any = forms.router.routes
    paths = {route.path.partition("{template}/")[2].replace("{number:int}", "1") for route in routes}
    assert paths == set(NEEDED)


@pytest.mark.parametrize("role", list(Role))
async def test_each_verb_wants_its_role(stranger: Person, role: Role) -> None:
    """Whatever the page shows, it is the server that refuses."""
    await stranger.sign_in(stranger.email(role))
    for verb, needed in NEEDED.items():
        status, text = await stranger.post(f"{TEMPLATE}/{verb}")
        refused = status == 403 and "Your role does not allow" in text
        assert refused is not role.may(needed), (verb, status)


async def test_only_an_editor_begins_a_new_template(stranger: Person, shared_app_client: AppClient) -> None:
    """With the session's own token, and under an id that can be one; a viewer doesn't see the form."""
    form = {"template": "new-one", "title": "New", "purpose": "other", "category": "service"}
    form |= {"locale.en-US": "yes", "channel.sms": "yes"}
    await stranger.sign_in(stranger.email("viewer"))
    assert (await stranger.get("/editor/new"))[0] == 403
    assert (await stranger.post("/editor/new", form))[0] == 403
    stranger.http.cookie_jar.clear()
    await stranger.sign_in(stranger.email("editor"))
    right, stranger.token = stranger.token, "0" * 64
    assert (await stranger.post("/editor/new", form))[0] == 403
    stranger.token = right
    wrong = {
        "template": "../etc",
        "title": " ",
        "category": "spam",
        "locale.en-US": "",
        "channel.sms": "",
        "purpose": "",
    }
    assert (await stranger.post("/editor/new", {**form, "template": "x" * 65}))[0] == 422
    for field, value in wrong.items():
        status, text = await stranger.post("/editor/new", {**form, field: value})
        assert (status, 'role="alert"' in text) == (422, True), field
    assert await stranger.post("/editor/new", form) == (
        303,
        "/editor/templates/new-one/1?done=create&locale=en-US",
    )
    assert (await stranger.post("/editor/new", form))[0] == 422  # it is taken now
    [made] = await shared_app_client.gateway.editor.workflow.versions(stranger.tenant, "new-one")
    assert made.state == "draft"
    stranger.http.cookie_jar.clear()
    await stranger.sign_in(stranger.email("other"))
    assert (await stranger.get("/editor/templates/new-one/1"))[0] == 404


async def test_another_lender_sees_nothing(stranger: Person, shared_app_client: AppClient) -> None:
    """Neither a version, nor its history, nor the frame of a previewed mail."""
    await stranger.sign_in(stranger.email("editor"))
    await stranger.post(f"{TEMPLATE}/begin")
    _, page = await stranger.get(f"{TEMPLATE}/1")
    frame = re.search(r"/editor/frames/[0-9a-f]+/light", page)
    assert frame
    assert (await stranger.get(frame[0]))[0] == 200
    stranger.http.cookie_jar.clear()
    assert (await stranger.get(frame[0]))[0] == 303
    await stranger.sign_in(stranger.email("other"))
    assert (await stranger.get(f"{TEMPLATE}/1"))[0] == 404
    assert (await stranger.get(frame[0]))[0] == 404
    assert "Editor" not in (await stranger.get(TEMPLATE))[1]


async def test_a_version_goes_live_at_its_time_or_not_at_all(stranger: Person, shared_app_client: AppClient) -> None:
    """A plan needs a time that has not passed, can be taken back, and what publishing would break is said first."""
    editing, users = (
        shared_app_client.gateway.editor.workflow,
        await shared_app_client.gateway.ledger.users.list(stranger.tenant),
    )
    mei, tom = (next(each.actor for each in users if each.role == role) for role in ("editor", "approver"))
    draft = await editing.begin(stranger.tenant, "overdue-first", mei)
    needed = '[variables.reference]\ntype = "text"\nexample = "A-1"\ndescription = "what to quote"\n'
    sms = draft.files["en-US/sms.liquid"].rstrip() + " Ref {{ reference }}\n"
    files = {**draft.files, "template.toml": f"{draft.files['template.toml']}\n{needed}", "en-US/sms.liquid": sms}
    await editing.save(stranger.tenant, "overdue-first", 1, 1, files, mei)
    await editing.submit(stranger.tenant, "overdue-first", 1, 2, mei, "")
    await editing.approve(stranger.tenant, "overdue-first", 1, tom)
    await stranger.sign_in(stranger.email("approver"))
    publish, later = f"{TEMPLATE}/1/publish", {"when": "later", "confirmed": "yes"}
    for at, said in (("", "Choose a date"), ("soon", "Choose a date"), ("2020-01-01T10:00", "has passed")):
        status, text = await stranger.post(publish, {**later, "at": at})
        assert (status, said in text) == (422, True)
    status, text = await stranger.post(publish, {"when": "now"})
    assert status == 409
    assert "reference" in text
    assert "Publish anyway" in text
    status, where = await stranger.post(publish, {**later, "at": "2099-01-01T10:00"})
    assert (status, where) == (303, f"{TEMPLATE}/1?done=schedule")
    assert "1 Jan 2099, 10:00 UTC" in (await stranger.get(f"{TEMPLATE}/1"))[1]
    assert (await stranger.post(f"{TEMPLATE}/1/unschedule"))[0] == 303
    assert (await stranger.post(publish, {"when": "now", "confirmed": "yes"}))[0] == 303
    live = await editing.live(stranger.tenant, "overdue-first")
    assert live is not None
    assert live.number == 1
    status, text = await stranger.post(publish, {"when": "now", "confirmed": "yes"})
    assert (status, "status has changed" in text) == (409, True)


async def test_a_template_can_not_reach_out_of_its_preview(stranger: Person) -> None:
    """A script in a text or in a sample is shown as text on the page, and runs nowhere in the mail's frame."""
    await stranger.sign_in(stranger.email("editor"))
    await stranger.post(f"{TEMPLATE}/begin")
    evil = "<script>alert(1)</script>"
    form = {"locale": "en-US", "f.en-US/sms.liquid": evil, "name": evil, "v.amount": "1.00", "v.currency": "USD"}
    status, text = await stranger.post(
        f"{TEMPLATE}/1/preview", {**form, "v.due_date": "2026-11-01"}, headers={"HX-Request": "true"}
    )
    assert status == 200
    assert "<script" not in text
    frame = re.search(r"/editor/frames/[0-9a-f]+/light", text)
    assert frame
    async with stranger.http.get(frame[0]) as answer:
        policy = answer.headers["content-security-policy"]
        assert "sandbox" in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert evil not in await answer.text()


async def test_without_javascript_the_preview_is_a_page_with_what_was_written(stranger: Person) -> None:
    """Nothing is lost by looking."""
    await stranger.sign_in(stranger.email("editor"))
    await stranger.post(f"{TEMPLATE}/begin")
    status, text = await stranger.post(f"{TEMPLATE}/1/preview", {"f.en-US/sms.liquid": "Mine.", "locale": "en-US"})
    assert status == 200
    assert "Mine.</textarea>" in text
    assert "<!doctype html>" in text
