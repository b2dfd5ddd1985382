"""The API for what borrowers say and what reviewers decide, over HTTP on a real ledger."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest
from twilio.request_validator import RequestValidator

from gateway.app.app import Gateway
from gateway.core.notifications import Category, Step
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.stages.send import unsubscribe_headers
from tests.support.api_gateway import Answer, Client, app_of, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW, draft

PHONE = "+886912345678"


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url, public_url="https://gateway.example.com") as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A case system's client, of the tenant acme."""
    _, key = await gateway.ledger.keys.create("acme", "test", ("send", "read", "manage"), NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


async def says(client: Client, text: str, sid: str = "SM1", **fields: str) -> Answer:
    form = {"MessageSid": sid, "From": PHONE, "To": "+15005550006", "Body": text, **fields}
    signature = RequestValidator("ab" * 16).compute_signature("https://gateway.example.com/v1/inbound/twilio", form)
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    return await client.post("/v1/inbound/twilio", data=urlencode(form), headers=headers)


async def test_a_stop_by_sms_is_in_force_when_it_is_answered(client: Client) -> None:
    """The borrower's record has the opt-out, the reply and what it was taken for; nothing is answered under tw."""
    await client.post("/v1/notifications", request())
    answer = await says(client, "退訂")
    assert (answer.status, answer.raw) == (200, b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>')
    shown = (await client.get("/v1/borrowers/B-1")).json
    assert [(each["channel"], each["source"]) for each in shown["opt_outs"]] == [("sms", "reply")]
    assert [(each["intent"], each["text"]) for each in shown["replies"]] == [("stop", "退訂")]
    timeline = (await client.get("/v1/borrowers/B-1/timeline")).json["events"]
    assert "replied" in [each["kind"] for each in timeline]
    assert "退訂" not in str(timeline)


async def test_a_stop_is_confirmed_once_where_the_pack_says_so(client: Client) -> None:
    """One message, in the answer to the borrower's own, and none when the provider repeats it or has answered."""
    body = request()
    body["borrower"]["jurisdiction"], body["borrower"]["locale"] = "us", "en-US"
    await client.post("/v1/notifications", body)
    assert b"<Message>Example Bank: you will get no more" in (await says(client, "STOP")).raw
    assert b"<Message>" not in (await says(client, "STOP")).raw
    assert b"<Message>" not in (await says(client, "please stop texting me", "SM2")).raw  # said again: told already
    await says(client, "START", "SM3")
    assert b"<Message>" in (await says(client, "STOP", "SM4")).raw
    await says(client, "START", "SM5")
    assert b"<Message>" not in (await says(client, "STOP", "SM6", OptOutType="STOP")).raw


async def test_an_opt_out_says_who_told_it_and_where_the_proof_is(client: Client) -> None:
    """Source and evidence stand in the record and in the timeline, and stay there when it is lifted."""
    given = {"channel": "sms", "source": "letter", "evidence": "archive, scan 77"}
    made = await client.post("/v1/borrowers/B-1/opt-outs", given)
    assert made.status == 201
    [shown] = (await client.get("/v1/borrowers/B-1")).json["opt_outs"]
    assert (shown["source"], shown["evidence"]) == ("letter", "archive, scan 77")
    assert (await client.call("DELETE", f"/v1/borrowers/B-1/opt-outs/{made.json['id']}")).status == 204
    events = (await client.get("/v1/borrowers/B-1/timeline")).json["events"]
    assert [each["kind"] for each in events] == ["opted_out", "opt_out_lifted"]
    assert events[0]["detail"]["evidence"] == "archive, scan 77"


async def test_forged_and_foreign_replies_are_refused(client: Client, gateway: Gateway) -> None:
    """A wrong signature is 403, a provider without replies 404, a form that lacks something 400."""
    forged = await client.post("/v1/inbound/twilio", data=b"Body=STOP", headers={"X-Twilio-Signature": "x"})
    assert (forged.status, forged.problem) == (403, "bad_signature")
    for provider in ("feed", "nobody"):
        assert (await client.post(f"/v1/inbound/{provider}", data=b"x")).status == 404
    form = {"From": PHONE}
    signature = RequestValidator("ab" * 16).compute_signature("https://gateway.example.com/v1/inbound/twilio", form)
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/v1/inbound/twilio", data=urlencode(form), headers=headers)
    assert (answer.status, answer.problem) == (400, "malformed_callback")


async def test_help_is_answered(client: Client) -> None:
    """Who asks for help is told where it is, in their language."""
    await client.post("/v1/notifications", request())
    assert "洽談還款方案" in (await says(client, "HELP")).raw.decode()


async def test_the_queue_has_the_most_urgent_first(client: Client) -> None:
    """Each page names where the next one begins; whoever sends another list's cursor is told so."""
    await client.post("/v1/notifications", request())
    await says(client, "I paid it last week")
    await says(client, "I want to die", "SM2")
    first = (await client.get("/v1/reviews?limit=1")).json
    assert [(each["reason"], each["urgency"]) for each in first["reviews"]] == [("danger", "now")]
    rest = (await client.get(f"/v1/reviews?cursor={first['next_cursor']}")).json
    assert [(each["reason"], each["urgency"]) for each in rest["reviews"]] == [("paid", "routine")]
    assert rest["next_cursor"] is None
    assert (await client.get("/v1/reviews?cursor=cmVwXzE")).problem == "invalid_request"


async def test_the_queue_shows_and_takes_decisions(client: Client) -> None:
    """What may be a stop is listed with its remedy, decided once, and 404 for whoever comes second."""
    await client.post("/v1/notifications", request())
    await says(client, "can you make it stop")
    [item] = (await client.get("/v1/reviews")).json["reviews"]
    assert (item["kind"], item["borrower_id"], item["reason"]) == ("reply", "B-1", "maybe_stop")
    assert (item["urgency"], item["review_by"] > item["since"]) == ("routine", True)
    assert (await client.get("/v1/reviews?reason=hold")).json["reviews"] == []
    decided = await client.post(f"/v1/reviews/{item['id']}/approve", {"reason": "a question, no stop"})
    assert decided.json == {"id": item["id"], "decision": "approved"}
    again = await client.post(f"/v1/reviews/{item['id']}/refuse", {"reason": "too late"})
    assert (again.status, again.problem) == (404, "not_found")
    assert (await client.get("/v1/borrowers/B-1")).json["opt_outs"] == []


async def test_consents_have_a_source_and_evidence(client: Client) -> None:
    """Without evidence there is no consent."""
    wrong = await client.post("/v1/borrowers/B-1/consents", {"category": "promotional", "source": "web"})
    assert (wrong.status, wrong.pointers) == (422, ["/evidence"])
    given = {"category": "promotional", "source": "web", "evidence": "consent store, record 7"}
    assert (await client.post("/v1/borrowers/B-1/consents", given)).status == 201
    assert (await client.get("/v1/borrowers/B-1")).json["consents"] == ["promotional"]
    assert (await client.call("DELETE", "/v1/borrowers/B-1/consents/promotional")).status == 204
    assert (await client.call("DELETE", "/v1/borrowers/B-1/consents/promotional")).status == 404


async def test_a_consent_may_be_to_one_channel(client: Client) -> None:
    """It is listed by itself and taken back by itself; an unknown channel is refused."""
    given = {"category": "service", "channel": "sms", "source": "app", "evidence": "consent store, record 8"}
    unknown = await client.post("/v1/borrowers/B-1/consents", {**given, "channel": "pigeon"})
    assert (unknown.status, unknown.json["errors"][0]["pointer"]) == (422, "/channel")
    made = await client.post("/v1/borrowers/B-1/consents", given)
    assert (made.status, made.json["channel"]) == (201, "sms")
    known = (await client.get("/v1/borrowers/B-1")).json
    assert (known["consents"], known["channel_consents"]) == ([], [{"channel": "sms", "category": "service"}])
    assert (await client.call("DELETE", "/v1/borrowers/B-1/consents/service")).status == 404
    assert (await client.call("DELETE", "/v1/borrowers/B-1/consents/service?channel=sms")).status == 204


async def test_suppressions_are_set_and_lifted_by_address(client: Client) -> None:
    """The address is in the body and in no URL; a wrong one is named."""
    given = {"channel": "sms", "address": PHONE, "reason": "wrong_party"}
    assert (await client.post("/v1/suppressions", given)).json["suppressed"] is True
    lifted = await client.post("/v1/suppressions", {"channel": "sms", "address": PHONE})
    assert lifted.json["suppressed"] is False
    wrong = await client.post("/v1/suppressions", {"channel": "sms", "address": "12"})
    assert (wrong.status, wrong.pointers) == (422, ["/address"])


async def test_the_borrowers_record_says_when_each_channel_may_be_used(client: Client) -> None:
    """Preferences of the latest request, and the verdict on a reminder like it, for each address."""
    await client.post("/v1/notifications", request())
    shown = (await client.get("/v1/borrowers/B-1")).json
    assert shown["preferences"]["time_zones"] == ["Asia/Taipei"]
    assert {name: each["next_permitted"] for name, each in shown["channels"].items()} == dict.fromkeys(
        ("email", "inapp", "sms"), "2026-11-24T10:00:00.000Z"
    )


async def test_one_click_unsubscribes_and_looking_does_not(client: Client, gateway: Gateway) -> None:
    """RFC 8058: the POST is the wish; the page that scanners fetch changes nothing; a forged link is unknown."""
    accepted = await client.post("/v1/notifications", request(route=["email"]))
    shown = (await client.get(accepted.json["links"]["self"])).json
    token = gateway.ledger.signer.message_token(shown["deliveries"][0]["id"])
    path = f"/v1/unsubscribe/{token}"
    page = await client.get(path)
    assert (page.status, page.headers["Referrer-Policy"]) == (200, "no-referrer")
    assert (await client.get("/v1/borrowers/B-1")).json["opt_outs"] == []
    form = {"List-Unsubscribe": "One-Click"}
    for _ in range(2):
        done = await client.post(path, data=form)
        assert done.status == 200
        assert "我們不會再" in done.raw.decode()
    assert "停止寄送" in page.raw.decode()
    assert not any(each in page.raw.decode() for each in ("B-1", "Chen", "example.com"))
    opt_outs = (await client.get("/v1/borrowers/B-1")).json["opt_outs"]
    assert [(each["channel"], each["source"]) for each in opt_outs] == [("email", "one_click")]
    assert (await client.post(f"/v1/unsubscribe/{token[:-1]}x", data=form)).status == 404


@pytest.mark.parametrize(
    ("locale", "language", "words"),
    [("en-GB", "en", "Stop these e-mails"), ("zh-CN", "zh-Hans", "停止发送"), ("zh-HK", "zh-Hant", "停止寄送")],
)
async def test_the_page_of_a_link_is_in_the_borrowers_language(
    client: Client, gateway: Gateway, locale: str, language: str, words: str
) -> None:
    """Without a sign-in; it says what does not change, and loads nothing."""
    borrower = {**request()["borrower"], "locale": locale}
    accepted = await client.post("/v1/notifications", request(route=["email"], borrower=borrower))
    shown = (await client.get(accepted.json["links"]["self"])).json
    token = gateway.ledger.signer.message_token(shown["deliveries"][0]["id"])
    page = await client.holding("").get(f"/v1/unsubscribe/{token}")
    text = page.raw.decode()
    assert page.status == 200
    assert f'lang="{language}"' in text
    assert words in text
    assert not re.search(r"<script|<img|https?:", text)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_a_click_by_mistake_can_be_undone_for_a_day(client: Client, gateway: Gateway) -> None:
    """By POST alone, and only what this link recorded: an opt-out by letter stays, and the page says so."""
    accepted = await client.post("/v1/notifications", request(route=["email"]))
    shown = (await client.get(accepted.json["links"]["self"])).json
    path = f"/v1/unsubscribe/{gateway.ledger.signer.message_token(shown['deliveries'][0]['id'])}"
    nobody = client.holding("")
    assert "已無法復原" in (await nobody.post(f"{path}/undo")).raw.decode()
    await nobody.post(path)
    assert (await nobody.get(f"{path}/undo")).status == 405
    assert (await client.get("/v1/suppressions")).json["suppressions"] != []
    assert "已恢復" in (await nobody.post(f"{path}/undo")).raw.decode()
    record = (await client.get("/v1/borrowers/B-1")).json
    assert (record["opt_outs"], record["opted_out_addresses"]) == ([], [])
    assert (await client.get("/v1/suppressions")).json["suppressions"] == []
    kinds = [each["kind"] for each in (await client.get("/v1/borrowers/B-1/timeline")).json["events"]]
    assert kinds[-2:] == ["opted_out", "opt_out_lifted"]
    await client.post("/v1/borrowers/B-1/opt-outs", {"channel": "email", "source": "letter"})
    assert "已無法復原" in (await nobody.post(f"{path}/undo")).raw.decode()
    assert (await nobody.post(f"{path[:-1]}x/undo")).status == 404


def test_the_link_in_the_text_is_that_of_the_headers(gateway: Gateway) -> None:
    """What the mail program's button calls (RFC 8058) is what the e-mail shows; a service message has neither.

    Each has the link to its reader's own page."""
    sender, catalog = gateway.path.stages.sender, gateway.templates.catalog
    for category, expected in ((Category.COLLECTIONS, True), (Category.SERVICE, False)):
        version = catalog.resolve("acme", "overdue-first", None, NOW).version
        variables = request()["variables"]
        made = replace(draft("k1").notification, template_version=version, category=category, variables=variables)
        links = sender.links("dlv_1", category)
        link = links.unsubscribe_url
        content = catalog.render(made, "email", links)
        assert f'href="{links.page_url}"' in content.html
        headers = unsubscribe_headers(link)
        assert (headers != {}) is expected
        assert ("/v1/unsubscribe/" in content.text, "/v1/unsubscribe/" in content.html) == (expected, expected)
        if expected:
            assert headers["List-Unsubscribe"] == f"<{link}>"
            assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            assert link in content.text
            assert f'href="{link}"' in content.html


async def test_what_waits_for_a_person_goes_on_when_its_hold_ends(client: Client, gateway: Gateway) -> None:
    """A vulnerable borrower's hold had an end: at that instant it is decided anew, as nobody had decided it."""
    held = draft("k", route=(Step("inapp"),), verdict=Verdict(VerdictKind.REVIEW, PolicyReason.HOLD, valid_until=NOW))
    live = gateway.templates.catalog.resolve("acme", "overdue-first", None, NOW).version
    sendable = replace(held.notification, template_version=live, variables=request()["variables"])
    [made] = await gateway.path.store.accept([replace(held, notification=sendable)], NOW)
    assert (await client.get("/v1/reviews")).json["reviews"][0]["reason"] == "hold"
    [due] = await gateway.path.store.due(NOW, 10)
    for state in ("accepted", "delivered"):
        await gateway.path.pipeline.dispatch([due])
        shown = (await client.get(f"/v1/notifications/{made.id}")).json
        assert shown["state"] == state
    assert "looked_at_again" in [each["kind"] for each in shown["events"]]
    never = Verdict(VerdictKind.REVIEW, PolicyReason.UNKNOWN_ZONE)
    await gateway.path.store.accept([draft("n", verdict=never)], NOW)
    assert await gateway.path.store.due(NOW, 10) == []


async def test_a_stop_that_only_the_provider_recognises_is_in_force(client: Client) -> None:
    """An account's own keyword, with Twilio's OptOutType: Twilio refuses our messages from now on, and so do we."""
    await client.post("/v1/notifications", request())
    assert (await says(client, "UNFOLLOW", OptOutType="STOP")).status == 200
    shown = (await client.get("/v1/borrowers/B-1")).json
    assert [(each["channel"], each["source"]) for each in shown["opt_outs"]] == [("sms", "reply")]


async def test_a_conversation_is_claimed_answered_and_closed(gateway: Gateway, client: Client) -> None:
    """By one key at a time: what another one tries meanwhile is a 409 that says why; free text is checked."""
    await client.post("/v1/notifications", request())
    await says(client, "我可以分期嗎")
    [waiting] = (await client.get("/v1/conversations")).json["conversations"]
    assert (waiting["intent"], waiting["urgency"], waiting["claimed_by"]) == ("plan", "routine", "")
    path = f"/v1/conversations/{waiting['id']}"
    _, key = await gateway.ledger.keys.create("acme", "another", ("read", "manage"), NOW)
    answer = {"revision": waiting["revision"], "text": "我們今天會致電給您。"}
    assert (await client.post(f"{path}/answer", answer)).problem == "conversation_not_claimed"
    claimed = (await client.post(f"{path}/claim")).json
    assert claimed["claimed_by"].startswith("key:")
    assert (await client.post(f"{path}/answer", answer)).problem == "conversation_changed"
    answer["revision"] = claimed["revision"]
    assert (await client.holding(key).post(f"{path}/claim")).problem == "conversation_claimed"
    assert (await client.post(f"{path}/answer", {**answer, "text": "警察會來找您"})).problem == "lint_errors"
    assert (await client.post(f"{path}/answer", {**answer, "template": "wrong-contact"})).problem == "invalid_request"
    taken = await client.post(f"{path}/answer", answer)
    assert taken.status == 200
    assert taken.json["conversation"]["state"] == "answered"
    shown = (await client.get(path)).json
    assert [each["text"] for each in shown["entries"] if each["text"]] == ["我可以分期嗎", "我們今天會致電給您。"]
    assert shown["entries"][0]["address"] == PHONE
    closing = {"outcome": "plan", "reason": "a plan was agreed by telephone"}
    assert (await client.post(f"{path}/close", closing)).json["outcome"] == "plan"
    assert (await client.get("/v1/conversations")).json["conversations"] == []
    assert (await client.get(f"/v1/conversations/cnv_{'0' * 32}")).problem == "not_found"
