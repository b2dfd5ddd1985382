"""``/docs`` in a browser: works without internet access, with local assets only."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.support.app_client import AppClient
from tests.support.browser import chromium, window


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
