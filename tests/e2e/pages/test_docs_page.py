"""``/`` and ``/docs`` in a browser: work without internet access, with local assets only."""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import urlsplit

from tests.support.app_client import AppClient
from tests.support.pages.accessibility import look
from tests.support.pages.browser import chromium, window


async def test_the_api_is_documented_from_our_own_address_alone(app_client: AppClient) -> None:
    """Every operation is listed, nothing is asked of another host, and the page's policy holds."""
    async with chromium() as browser, window(browser, app_client.url) as page:
        hosts: set[str | None] = set()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        answer = await page.goto("/docs")
        assert answer is not None
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        await page.locator(".opblock-post").first.wait_for()
        assert await page.locator(".opblock").count() > 40
        assert {host for host in hosts if host} == {"127.0.0.1"}


async def test_the_start_page_leads_on_and_its_request_works(app_client: AppClient) -> None:
    """``/`` needs no sign-in, has a link for each reader, and its command is accepted as it stands, given a key."""
    async with chromium() as browser, window(browser, app_client.url) as page:
        await page.goto("/")
        links = {await each.get_attribute("href") for each in await page.locator("main a").all()}
        assert links == {"/docs", "/editor", "/desk", "/ops", "/journeys", "/problems", "/inbox", "/openapi.json"}
        command = await page.locator("pre").inner_text()
        await look(page, "start")
    published = app_client.gateway.ledger.settings.effective_public_url
    environment = {**os.environ, "GATEWAY_API_KEY": app_client.token}
    made = command.replace(published, app_client.url)
    pipe = asyncio.subprocess.PIPE
    shell = await asyncio.create_subprocess_exec("bash", "-c", made, stdout=pipe, env=environment)
    out, _ = await shell.communicate()
    assert json.loads(out)["id"].startswith("ntf_")
