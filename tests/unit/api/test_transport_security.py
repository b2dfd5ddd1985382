"""Strict-Transport-Security on every answer of a gateway that is reached by HTTPS."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.support.api_gateway import Client, app_of, open_api_gateway, serving


@pytest.mark.parametrize(
    ("public_url", "expected"), [("https://gateway.example.com", "max-age=31536000"), ("http://127.0.0.1:8080", None)]
)
async def test_every_answer_demands_https(
    tmp_path: Path, redis_url: str, public_url: str, expected: str | None
) -> None:
    """The header is on pages, redirects, refusals and the busy routes where the public URL is https, and else not."""
    async with (
        open_api_gateway(tmp_path, redis_url, public_url=public_url) as gateway,
        serving(app_of(gateway)) as url,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, url, "")
        for method, path in (
            ("GET", "/healthz"),
            ("GET", "/ops"),
            ("GET", "/docs"),
            ("GET", "/no-such"),
            ("GET", "/v1/notifications"),
            ("POST", "/v1/notifications"),
            ("POST", "/v1/receipts/no-such"),
        ):
            answer = await client.call(method, path, allow_redirects=False)
            assert answer.headers.get("Strict-Transport-Security") == expected, path
