"""Template commands over HTTP on a whole gateway: draft, lint, approval, publication, sending, roll-back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from shutil import rmtree
from typing import Any

import aiohttp
import pytest

from channels.base import Content
from channels.email.mime import Envelope, build
from channels.email.sink import SmtpSink
from channels.sms.simulator import SmsSimulator
from gateway.app import storage
from gateway.app.app import Gateway, open_gateway
from gateway.app.settings import Settings
from gateway.templates.folder import read_template
from gateway.templates.previews.preview import SAMPLE_LINKS
from gateway.templates.versions.versions_store import VersionStore
from tests.support.api_gateway import Answer, Client, app_of, request, serving
from tests.support.forked import gateway_command
from tests.support.storage.ledgers import begun, empty_sqlite

ACCOUNT = "AC" + "0" * 32
SMS = "en-US/sms.liquid"
TEMPLATE = "/v1/templates/overdue-first"
EDITOR, EDITORS_PHONE = "editor@example.com", "+12025550100"
REFUSED_PHONE = "+12025550195"  # by the simulator, as no number
GOOD = "{{ lender.name }}: {{ borrower.name }}, a friendly note on your account. {% render 'opt-out-sms' %}\n"


@dataclass
class Office:
    """A gateway with its outside, an editor, an approver and a case system of one lender, and somebody of another."""

    gateway: Gateway
    sms: SmsSimulator
    mail: SmtpSink
    editor: Client
    approver: Client
    sender: Client
    stranger: Client

    async def draft(self, **files: str) -> Answer:
        """A draft with these files changed: ``sms="…"``."""
        begun = await self.editor.post(f"{TEMPLATE}/versions", {})
        assert begun.status == 201, begun.json
        changed = {**begun.json["files"], SMS: GOOD, **files}
        return await self.save(begun.json["number"], begun.headers["ETag"], changed)

    async def save(self, number: int, etag: str, files: dict[str, str], who: Client | None = None) -> Answer:
        path = f"{TEMPLATE}/versions/{number}"
        return await (who or self.editor).call("PUT", path, {"files": files}, headers={"If-Match": etag})

    async def do(self, number: int, verb: str, who: Client | None = None, etag: str = "", **body: Any) -> Answer:
        headers = {"If-Match": etag} if etag else {}
        path = f"{TEMPLATE}/versions/{number}/{verb}"
        return await (who or self.approver).post(path, {"comment": "because of a test", **body}, headers=headers)

    async def published(self, **files: str) -> int:
        saved = await self.draft(**files)
        number: int = saved.json["number"]
        assert (await self.do(number, "submit", self.editor, saved.headers["ETag"])).status == 200
        assert (await self.do(number, "approve")).status == 200
        answer = await self.do(number, "publish", confirm=True)
        assert answer.status == 200, answer.json
        return number

    async def sent(self, case: str, **changes: Any) -> Answer:
        body = request(1, route=["sms"], **changes)
        body["case"]["id"] = case
        body["borrower"] |= {"locale": "en-US", "id": f"B-{case}"}
        return await self.sender.post("/v1/notifications", body)

    async def command(self, who: Client, *arguments: str, status: int = 0) -> str:
        """What ``gateway template …`` writes; stderr where it is to fail."""
        environment = {**os.environ, "GATEWAY_URL": who.url, "GATEWAY_API_KEY": who.token}
        done = await asyncio.to_thread(gateway_command, "template", *arguments, environment=environment)
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    async def version_of(self, accepted: Answer) -> str:
        found = await self.sender.get(f"/v1/notifications/{accepted.json['id']}")
        return str(found.json["template_version"])


class MovableClock:
    """The machine's clock, which a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovableClock:
    """The clock of the gateway that this test opens."""
    made = MovableClock()
    monkeypatch.setattr(storage, "system_clock", lambda settings: made)
    return made


@pytest.fixture
async def office(clock: MovableClock) -> AsyncIterator[Office]:
    """Everything real; the providers are the simulators that speak the providers' protocols."""
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    sms, mail = SmsSimulator(ACCOUNT, "t", lambda: datetime.now(UTC)), SmtpSink(lambda: datetime.now(UTC))
    await sms.start()
    await mail.start()
    twilio = {"account_sid": ACCOUNT, "auth_token": "t", "from_number": "+15005550006", "base_url": sms.url}
    relay = {
        "host": "127.0.0.1",
        "port": mail.port,
        "tls": "none",
        "domain": "example.com",
        "from_address": "a@b.example",
    }
    begun(empty_sqlite(folder))
    settings = Settings(
        data_dir=folder,
        providers=[
            {"channel": "sms", "kind": "twilio", "name": "twilio", "options": twilio},
            {"channel": "email", "kind": "smtp", "name": "relay", "options": relay},
        ],
        test_addresses={"acme": {"email": [EDITOR], "sms": [EDITORS_PHONE, REFUSED_PHONE]}},
        sms_prices={"us": "0.01 USD"},
    )
    try:
        async with (
            open_gateway(settings) as gateway,
            serving(app_of(gateway)) as url,
            aiohttp.ClientSession() as session,
        ):
            clients = []
            for tenant, scopes in (
                ("acme", ("templates:edit",)),
                ("acme", ("templates:approve",)),
                ("acme", ("send", "read")),
                ("other", ("admin",)),
            ):
                _, key = await gateway.ledger.keys.create(tenant, "test", scopes, gateway.ledger.clock())
                clients.append(Client(session, url, key))
            yield Office(gateway, sms, mail, *clients)
    finally:
        await sms.stop()
        await mail.stop()
        rmtree(folder, ignore_errors=True)


async def test_from_a_draft_to_a_message_and_back(office: Office) -> None:
    """Written, approved by a second person, published: requests get it; rolled back: they get the earlier one."""
    before = await office.version_of(await office.sent("C-1"))
    number = await office.published()
    live = (await office.editor.get(f"{TEMPLATE}/live")).json
    during = await office.sent("C-2")
    assert await office.version_of(during) == live["version"] != before
    pinned = await office.sent("C-3", template_version=before)
    assert await office.version_of(pinned) == before
    rolled = await office.approver.post(f"{TEMPLATE}/roll-back", {"comment": "wrong words"})
    assert rolled.json["live"] == {"template": "overdue-first", "number": 0, "version": before}
    assert await office.version_of(await office.sent("C-4")) == before
    assert (await office.sent("C-5", template_version=live["version"])).problem == "unknown_template"
    history = (await office.editor.get(f"{TEMPLATE}/history?number={number}")).json["changes"]
    assert [each["kind"].removeprefix("template_") for each in history] == [
        "begun",
        "saved",
        "submitted",
        "approved",
        "published",
        "rolled_back",
    ]
    assert all(each["actor"].startswith("key:") for each in history)


async def test_who_wrote_it_does_not_approve_it(office: Office) -> None:
    """Approving needs the scope, and a person who neither wrote nor submitted."""
    saved = await office.draft()
    number = saved.json["number"]
    await office.do(number, "submit", office.editor, saved.headers["ETag"])
    assert (await office.do(number, "approve", office.editor)).problem == "forbidden"
    _, key = await office.gateway.ledger.keys.create("acme", "both", ("admin",), office.gateway.ledger.clock())
    both = office.editor.holding(key)
    second = await office.do(number, "reject")
    assert second.json["state"] == "rejected"
    begun = await both.post(f"{TEMPLATE}/versions", {"files": saved.json["files"]})
    again = begun.json["number"]
    await office.do(again, "submit", both, begun.headers["ETag"])
    assert (await office.do(again, "approve", both)).problem == "same_person"
    assert (await office.do(again, "approve")).status == 200


async def test_the_second_of_two_editors_is_told_and_loses_nothing(office: Office) -> None:
    """A save on an old text gets 412 with the present one; without saying which, 428."""
    saved = await office.draft()
    number, old = saved.json["number"], saved.headers["ETag"]
    theirs = {**saved.json["files"], SMS: GOOD.replace("friendly", "gentle")}
    assert (await office.save(number, old, theirs)).status == 200
    late = await office.save(number, old, saved.json["files"])
    assert late.status == 412
    assert late.problem == "edited_meanwhile"
    assert late.json["current"]["files"][SMS] == theirs[SMS]
    assert late.json["current"]["revision"] == 3
    bare = await office.editor.call("PUT", f"{TEMPLATE}/versions/{number}", {"files": theirs})
    assert (bare.status, bare.problem) == (428, "revision_required")
    open_one = await office.editor.post(f"{TEMPLATE}/versions", {})
    assert open_one.problem == "draft_exists"
    assert open_one.json["current"]["number"] == number


async def test_an_error_blocks_submitting(office: Office) -> None:
    """The lint's errors come back with their places; the draft stays a draft, and is saved all the same."""
    saved = await office.draft(**{SMS: "{{ nonsense }}\n"})
    number = saved.json["number"]
    refused = await office.do(number, "submit", office.editor, saved.headers["ETag"])
    assert (refused.status, refused.problem) == (422, "lint_errors")
    worst = refused.json["findings"][0]
    assert (worst["level"], worst["where"]) == ("error", f"overdue-first/{SMS}")
    linted = await office.editor.post(f"{TEMPLATE}/lint", {"number": number})
    assert linted.json["findings"] == refused.json["findings"]
    found = await office.editor.get(f"{TEMPLATE}/versions/{number}")
    assert found.json["stored_version"]["state"] == "draft"


async def test_another_lender_sees_nothing_of_it(office: Office) -> None:
    """Neither the text nor the version can be read, listed, pinned or sent by another tenant."""
    number = await office.published()
    live = (await office.editor.get(f"{TEMPLATE}/live")).json
    assert (await office.stranger.get(f"{TEMPLATE}/versions/{number}")).problem == "not_found"
    assert (await office.stranger.get(f"{TEMPLATE}/versions")).json["versions"] == []
    assert (await office.stranger.get(f"{TEMPLATE}/history")).json["changes"] == []
    theirs = (await office.stranger.get(f"{TEMPLATE}/live")).json
    assert theirs["number"] == 0
    body = request(1, route=["sms"], template_version=live["version"])
    assert (await office.stranger.post("/v1/notifications", body)).problem == "unknown_template"
    for verb in ("approve", "publish", "reject", "unschedule"):
        assert (await office.do(number, verb, office.stranger)).problem == "not_found"
    assert (await office.stranger.post(f"{TEMPLATE}/roll-back", {"comment": "not mine"})).problem == (
        "nothing_to_roll_back"
    )


async def test_a_new_variable_names_the_callers_it_would_break(office: Office) -> None:
    """Publishing what needs more than callers give has to be confirmed, and says whose requests would be refused."""
    await office.sent("C-1")
    begun = await office.editor.post(f"{TEMPLATE}/versions", {})
    toml = begun.json["files"]["template.toml"] + (
        '\n[variables.agent]\ntype = "text"\nexample = "Lee"\ndescription = "who to ask for"\n'
    )
    files = {**begun.json["files"], "template.toml": toml}
    saved = await office.save(begun.json["number"], begun.headers["ETag"], files)
    number = saved.json["number"]
    await office.do(number, "submit", office.editor, saved.headers["ETag"])
    await office.do(number, "approve")
    refused = await office.do(number, "publish")
    assert (refused.status, refused.problem) == (409, "needs_confirmation")
    [consequence] = refused.json["consequences"]
    assert consequence["code"] == "variables"
    assert consequence["detail"] == "agent (text) is now required"
    [broken] = consequence["callers"]
    assert (broken["name"], broken["requests"], broken["share"]) == ("test", 1, 1.0)
    assert (await office.do(number, "publish", confirm=True)).status == 200
    assert (await office.sent("C-2")).problem == "invalid_variables"


async def test_a_test_message_is_the_preview_with_a_mark(office: Office) -> None:
    """By the real provider, byte for byte but for the mark and its own unsubscribe link, to nobody but the list."""
    saved = await office.draft()
    number = saved.json["number"]
    shown = await office.editor.post(f"{TEMPLATE}/preview", {"number": number, "sample": {"locale": "en-US"}})
    by_channel = {each["channel"]: each for each in shown.json["previews"]}
    assert by_channel["sms"]["segments"]["encoding"] == "GSM-7"
    assert by_channel["sms"]["cost"] == {"amount": "0.01", "currency": "USD"}

    test = {"channel": "sms", "address": EDITORS_PHONE, "sample": {"locale": "en-US"}}
    answer = await office.editor.post(f"{TEMPLATE}/versions/{number}/test", test)
    assert (answer.status, answer.json["outcome"], answer.json["provider"]) == (200, "accepted_by_provider", "twilio")
    [stored] = office.sms.messages.values()
    assert (stored.to, stored.body) == (EDITORS_PHONE, "[TEST] " + by_channel["sms"]["content"]["text"])

    await office.editor.post(f"{TEMPLATE}/versions/{number}/test", {**test, "channel": "email", "address": EDITOR})
    [mail] = office.mail.mails
    message = message_from_bytes(mail.raw, policy=policy.default)
    content = by_channel["email"]["content"]
    [link] = re.findall(r"https?://\S+/v1/unsubscribe/tst_\S+", message.get_body(("plain",)).get_content())
    page = link.replace("/v1/unsubscribe/", "/m/")
    text, html = (
        content[name].replace(SAMPLE_LINKS.unsubscribe_url, link).replace(SAMPLE_LINKS.page_url, page)
        for name in ("text", "html")
    )
    previewed = Content(text, "[TEST] " + content["subject"], html)
    sent_at = message["Date"].datetime
    assert mail.raw == build(Envelope("a@b.example", EDITOR, mail.message_id, sent_at, {}), previewed)

    elsewhere = await office.editor.post(f"{TEMPLATE}/versions/{number}/test", {**test, "address": "+12025550199"})
    assert (elsewhere.status, elsewhere.problem) == (403, "not_your_address")
    history = (await office.editor.get(f"{TEMPLATE}/history?number={number}")).json["changes"]
    tests = [each for each in history if each["kind"] == "template_test_ended"]
    assert [each["detail"]["channel"] for each in tests] == ["sms", "email"]
    assert EDITOR not in str(history)
    assert EDITORS_PHONE not in str(history)
    assert (await office.sender.get("/v1/notifications?limit=10")).json["notifications"] == []


async def test_files_and_store_take_over_from_each_other_without_loss(office: Office) -> None:
    """What is exported and imported again is the same, byte for byte, as a draft or published by an administrator."""
    number = await office.published()
    exported = (await office.editor.get("/v1/templates/export")).json["templates"]
    live = (await office.editor.get(f"{TEMPLATE}/versions/{number}")).json["files"]
    assert exported["overdue-first"] == live
    body = {"templates": exported, "comment": "from our repository"}
    same = await office.editor.post("/v1/templates/import", body)
    assert {each["outcome"] for each in same.json["results"]} == {"unchanged"}
    changed = {**live, SMS: GOOD.replace("friendly", "kind")}
    body = {"templates": {"overdue-first": changed}, "comment": "reviewed in pull request 7"}
    [draft] = (await office.editor.post("/v1/templates/import", body)).json["results"]
    assert (draft["outcome"], draft["number"]) == ("draft", number + 1)
    found = await office.editor.get(f"{TEMPLATE}/versions/{number + 1}")
    assert found.json["files"] == changed
    assert (await office.editor.post("/v1/templates/import", {**body, "publish": True})).problem == "forbidden"
    _, key = await office.gateway.ledger.keys.create("acme", "pipeline", ("admin",), office.gateway.ledger.clock())
    pipeline = office.editor.holding(key)
    [refused] = (await pipeline.post("/v1/templates/import", {**body, "publish": True})).json["results"]
    assert (refused["outcome"], "open draft" in refused["detail"]) == ("refused", True)
    etag = found.headers["ETag"]
    await office.editor.call("DELETE", f"{TEMPLATE}/versions/{number + 1}", headers={"If-Match": etag})
    [done] = (await pipeline.post("/v1/templates/import", {**body, "publish": True})).json["results"]
    assert (done["outcome"], done["number"]) == ("published", number + 2)
    assert (await office.editor.get(f"{TEMPLATE}/live")).json["files"] == changed


async def test_a_diff_says_in_words_and_previews_what_changes(office: Office) -> None:
    """Which parts changed, word by word, and what a borrower reads before and after on the channels that change."""
    saved = await office.draft()
    diff = (await office.editor.get(f"{TEMPLATE}/versions/{saved.json['number']}/diff")).json
    assert diff["words"] == ["the SMS in en-US changed"]
    [file] = diff["files"]
    assert (file["name"], file["change"]) == (SMS, "changed")
    assert "".join(each["text"] for each in file["pieces"] if each["kind"] != "removed") == GOOD
    [shown] = diff["shown"]
    assert (shown["channel"], shown["locale"]) == ("sms", "en-US")
    assert "friendly note" in shown["after"]["text"]
    assert "friendly note" not in shown["before"]["text"]


async def test_a_planned_publication_takes_effect_at_its_time(office: Office, clock: MovableClock) -> None:
    """It waits for its time, and no request gets it before; taken back, it is approved as before."""
    saved = await office.draft()
    number = saved.json["number"]
    await office.do(number, "submit", office.editor, saved.headers["ETag"])
    await office.do(number, "approve")
    at = (clock() + timedelta(hours=1)).isoformat()
    assert (await office.do(number, "publish", at=at)).json["state"] == "scheduled"
    assert not (await office.version_of(await office.sent("C-1"))).startswith("e")
    assert (await office.do(number, "unschedule")).json["state"] == "approved"
    await office.do(number, "publish", at=at)
    clock.ahead += timedelta(hours=1)
    assert (await office.version_of(await office.sent("C-2"))).startswith(f"e{number}-")
    assert (await office.editor.get(f"{TEMPLATE}/live")).json["number"] == number


async def test_a_team_works_in_a_folder_by_command_line(office: Office, tmp_path: Path) -> None:
    """From a changed folder to live and back into a folder, byte for byte; a refusal says what, and ends with 1."""
    desk, back = tmp_path / "desk", tmp_path / "back"
    await office.command(office.editor, "export", str(desk))
    changed = desk / "overdue-first" / SMS
    changed.write_bytes(GOOD.encode())
    (desk / "overdue-first" / "template.toml.orig").write_text("somebody's back-up")
    out = await office.command(office.editor, "import", str(desk), "--reason", "kinder words", "--json")
    assert {each["template"]: each["outcome"] for each in json.loads(out)}["overdue-first"] == "draft"
    await office.command(office.editor, "submit", "overdue-first", "1", "--reason", "please read")
    out = await office.command(office.editor, "approve", "overdue-first", "1", status=1)
    assert "templates:approve" in out
    await office.command(office.approver, "approve", "overdue-first", "1")
    await office.command(office.approver, "publish", "overdue-first", "1", "--reason", "good words")
    await office.command(office.editor, "export", str(back), "--template", "overdue-first")
    assert read_template(back / "overdue-first") == read_template(desk / "overdue-first")
    assert (back / "overdue-first" / SMS).read_bytes() == GOOD.encode()
    await office.command(office.approver, "rollback", "overdue-first", "--reason", "wrong words")
    assert (await office.editor.get(f"{TEMPLATE}/live")).json["number"] == 0


async def test_a_template_for_a_purpose_by_command_line(office: Office) -> None:
    """Made for a purpose, found by the approver in the queue, and nothing has become of it yet."""
    chosen = ("--locale", "en-US", "--locale", "zh-TW", "--channel", "sms", "--channel", "email")
    made = await office.command(
        office.editor, "new", "promise", "--purpose", "promise-reminder", "--title", "Promise", *chosen, "--json"
    )
    assert {"zh-TW/sms.liquid", "en-US/email.md.liquid"} <= json.loads(made)["files"].keys()
    submit = await office.editor.post(
        "/v1/templates/promise/versions/1/submit", {"comment": "please read"}, headers={"If-Match": '"1"'}
    )
    assert submit.status == 200
    [waiting] = json.loads(await office.command(office.approver, "waiting", "--json"))
    assert (waiting["waits"], waiting["stored"]["template"], waiting["title"]) == ("approve", "promise", "Promise")
    own = (await office.editor.get("/v1/templates/waiting")).json["waiting"]
    assert [each["waits"] for each in own] == ["others"]
    results = (await office.editor.get("/v1/templates/promise/versions/1/results")).json
    assert (results["counts"]["sent"], results["complete"], results["before"]) == (0, True, "")
    spoken = (await office.editor.post("/v1/templates/promise/preview", {"number": 1})).json["previews"][0]["spoken"]
    assert any("Thank you for telling us" in each["words"] for each in spoken)


async def test_a_test_that_cannot_be_sent_says_why(office: Office) -> None:
    """A refusal of the provider is the outcome; a pause and too many tests are refused before anything is sent."""
    test = {"channel": "sms", "address": REFUSED_PHONE}
    answer = await office.editor.post(f"{TEMPLATE}/versions/0/test", test)
    assert (answer.status, answer.json["outcome"]) == (200, "invalid_address")
    _, key = await office.gateway.ledger.keys.create("acme", "operator", ("manage",), office.gateway.ledger.clock())
    operator = office.editor.holding(key)
    pause = {"scope": "channel", "value": "sms", "reason": "wrong sender"}
    made = await operator.post("/v1/controls", pause)
    paused = await office.editor.post(f"{TEMPLATE}/versions/0/test", {**test, "address": EDITORS_PHONE})
    assert (paused.status, paused.problem) == (409, "paused")
    await operator.call("DELETE", f"/v1/controls/{made.json['id']}")
    store = VersionStore(office.gateway.ledger.database, office.gateway.ledger.clock)
    actor = (await office.editor.get(f"{TEMPLATE}/history")).json["changes"][0]["actor"]
    for _ in range(29):
        await store.note(("acme", "overdue-first", 0), "template_test_started", actor, {})
    enough = await office.editor.post(f"{TEMPLATE}/versions/0/test", {**test, "address": EDITORS_PHONE})
    assert (enough.status, enough.problem) == (429, "too_many_tests")
    assert not office.sms.messages
    unknown = await office.editor.post(f"{TEMPLATE}/versions/0/test", {"channel": "pigeon", "address": "x"})
    assert (unknown.status, unknown.problem) == (422, "invalid_request")
