"""Providers' templates over HTTP and on the editor's page: entered, shown beside our text, submitted, approved."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from channels.sms.channel import SmsChannel
from gateway.app.app import Gateway
from tests.support.api_gateway import Client, app_of, open_api_gateway, serving
from tests.support.forked import gateway_command
from tests.support.pages.browser import PASSWORD
from tests.support.storage.ledgers import NOW

VERSIONS = "/v1/templates/due-soon/versions"
PAGE = "/editor/templates/due-soon/1/provider-templates"
PLACE = f"{VERSIONS}/1/provider-templates/twilio/en-US"
TEXT = "{% render 'sign-sms' %} please pay {{ amount | money: currency }} by {{ due_date | date }} & thank you\n"


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """Texts by SMS need an approved template here, as those of a social channel do."""
    monkeypatch.setattr(SmsChannel, "profile", replace(SmsChannel.profile, service_window=timedelta(hours=24)))
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


async def submitted(client: Client) -> None:
    """Version 1 with a text by SMS, submitted for approval."""
    begun = (await client.post(VERSIONS, {"comment": "with provider"})).json
    files = {**begun["files"], "en-US/sms.liquid": TEXT}
    saved = await client.call("PUT", f"{VERSIONS}/1", {"files": files}, headers={"If-Match": '"1"'})
    assert saved.status == 200, saved.json
    done = await client.post(f"{VERSIONS}/1/submit", {"comment": "please read"}, headers={"If-Match": '"2"'})
    assert done.status == 200, done.json


async def test_a_providers_template_from_entry_to_approval(gateway: Gateway) -> None:
    """By the API and on the page: the same commands, the same states, the same refusals."""
    scopes = ["templates:read", "templates:edit"]
    _, key = await gateway.ledger.keys.create("acme", "editor", scopes, NOW)
    await gateway.ledger.users.add("acme", "Ann", "ann@example.com", "editor", PASSWORD, NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        client = Client(session, url, key)
        await submitted(client)
        listed = (await client.get(f"{VERSIONS}/1/provider-templates")).json["provider_templates"]
        missing = next(each for each in listed if each["locale"] == "en-US")
        assert (missing["status"], missing["usable"]) == ("none", False)
        assert missing["proposed_text"].endswith("please pay {{amount}} by {{due_date}} & thank you")
        wrong = await client.call("PUT", PLACE, {"reference": "HX1", "text": "Pay {{amount}}", "slots": []})
        assert [each["rule"] for each in wrong.json["findings"]] == ["provider_slots"]
        refused = await client.post(f"{PLACE}/report", {"status": "submitted"})
        assert (refused.status, refused.json["type"].rpartition("/")[2]) == (422, "lint_errors")
        entered = await client.call("PUT", PLACE, {"reference": "HX1", "language": "en", "ttl_seconds": 3600})
        assert (entered.status, entered.json["findings"]) == (200, [])
        assert entered.json["our_text"] == entered.json["provider_text"]
        early = await client.post(f"{PLACE}/report", {"status": "approved"})
        assert early.status == 409
        assert (await client.post(f"{PLACE}/report", {"status": "submitted"})).json["status"] == "submitted"
        unknown = await client.call("PUT", PLACE.replace("twilio", "other"), {"reference": "HX1"})
        assert unknown.status == 404
        await on_the_command_line(url, key)
        await on_the_page(url)
        after = (await client.get(f"{VERSIONS}/1/provider-templates")).json["provider_templates"]
        [approved] = [each for each in after if each["locale"] == "en-US"]
        assert (approved["status"], approved["usable"], approved["reason"]) == ("approved", True, "fine")


async def on_the_page(url: str) -> None:
    """An editor sees both texts and the state, and records the provider's decision."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(url, cookie_jar=jar) as http:
        token = _token(await _text(http, "/editor/sign-in"))
        form = {"form_token": token, "email": "ann@example.com", "password": PASSWORD}
        async with http.post("/editor/sign-in", data=form, allow_redirects=False) as answer:
            assert answer.status == 303
        page = await _text(http, PAGE)
        assert "Our message" in page
        assert "Submitted" in page
        assert "{{amount}}" in page
        fields = {"form_token": _token(page), "provider": "twilio", "locale": "en-US"}
        bad = {**fields, "reference": "HX1", "slots": "no slot at all"}
        async with http.post(f"{PAGE}/enter", data=bad) as answer:
            assert answer.status == 422
            assert "no slot at all" in await answer.text()
        async with http.post(f"{PAGE}/report", data={**fields, "status": "approved", "reason": "fine"}) as answer:
            assert answer.status == 200
            assert "Recorded." in await answer.text()


async def on_the_command_line(url: str, key: str) -> None:
    """The list names provider, locale and state."""
    arguments = ["template", "providers", "list", "due-soon", "1", "--url", url, "--key", key, "--json"]
    done = await asyncio.to_thread(gateway_command, *arguments)
    assert done.returncode == 0, done.stderr
    found = {each["locale"]: each["status"] for each in json.loads(done.stdout)}
    assert found["en-US"] == "submitted"


async def _text(http: aiohttp.ClientSession, path: str) -> str:
    async with http.get(path) as answer:
        return await answer.text()


def _token(page: str) -> Any:
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', page)
    assert found, page[:500]
    return found[1]
