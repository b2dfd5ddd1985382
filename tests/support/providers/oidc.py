"""A real OpenID Connect provider on loopback, and a browser that signs in there."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest

_HERE = Path(__file__).parent / "oidc_provider"
_INSTALL_SECONDS = 300
_START_SECONDS = 60.0
_MOST_STEPS = 12  # redirects and forms of one sign-in

CLIENT_ID, CLIENT_SECRET = "gateway", "a-client-secret-of-the-tests"


def installed() -> Path:
    """The provider with its locked packages, installed once for each lock. Skips the test where that can't be."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("no node and npm here: the OpenID Connect provider of these tests is a package of npm")
    lock = (_HERE / "package-lock.json").read_bytes()
    folder = Path(tempfile.gettempdir()) / f"oidc-provider-{os.getuid()}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / "installed").exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        for each in _HERE.glob("*.json"):
            shutil.copy(each, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_INSTALL_SECONDS, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install the OpenID Connect provider: {done.stderr.decode()[-300:]}")
        (folder / "installed").touch()
    shutil.copy(_HERE / "provider.js", folder)
    return folder


@asynccontextmanager
async def provider(port: int, public_url: str, accounts: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[str]:
    """The provider as a process, with new keys at each start; its issuer."""
    folder = await asyncio.to_thread(installed)
    client = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [f"{public_url}/editor/sign-in/provider/callback"],
        "post_logout_redirect_uris": [f"{public_url}/editor/sign-in"],
    }
    given = json.dumps({"port": port, "client": client, "accounts": accounts})
    process = await asyncio.create_subprocess_exec(
        "node",
        str(folder / "provider.js"),
        env={**os.environ, "OIDC_PROVIDER": given},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            assert (await process.stdout.readline()).strip() == b"ready"
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


class PersonsBrowser:
    """Follows redirects and fills in the provider's forms, one step at a time."""

    def __init__(self) -> None:
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def get(self, url: str) -> tuple[int, str, str]:
        """Status, address that it leads to, and text."""
        async with self.http.get(url, allow_redirects=False) as response:
            return response.status, urljoin(url, response.headers.get("Location", "")), await response.text()

    async def until(self, url: str, prefix: str, account: str, password: str = "any") -> str:
        """Sign in at the provider until a redirect leads to an address that begins with ``prefix``; that address."""
        for _ in range(_MOST_STEPS):
            if url.startswith(prefix):
                return url
            status, location, text = await self.get(url)
            url = location if status in (302, 303) else await self._fill_in(url, text, account, password)
        raise AssertionError(f"the sign-in does not end: {url}")

    async def _fill_in(self, url: str, text: str, account: str, password: str) -> str:
        action = re.search(r'<form[^>]*action="([^"]+)"', text)
        assert action is not None, text[:500]
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text))
        form = {**hidden, "login": account, "password": password}
        target = urljoin(url, html.unescape(action[1]))
        async with self.http.post(target, data=form, allow_redirects=False) as response:
            return urljoin(target, response.headers["Location"])
