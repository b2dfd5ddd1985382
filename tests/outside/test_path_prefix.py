"""The gateway behind nginx under a path prefix, which the proxy leaves in the path or takes away."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import rmtree
from urllib.parse import urljoin

import aiohttp
import pytest

from tests.support import outside
from tests.support.containers import needed
from tests.support.production import free_port
from tests.support.tried import Tried
from tests.support.waiting import eventually_blocking
from tests.support.whole_gateway import REQUEST, up

README = Path(__file__).parents[2] / "ops" / "deploy" / "README.md"
KEEPS, STRIPS = re.findall(r"^location /reminders/ .*$", README.read_text(), re.MULTILINE)
PREFIX = "/reminders"


@contextmanager
def nginx(port: int, location: str) -> Iterator[str]:
    """Its version; it listens on ``port`` with this location. Skips the test where it is not installed."""
    program = needed("nginx")
    folder = Path(tempfile.mkdtemp(prefix="gwnginx-", dir="/tmp"))
    folder.chmod(0o755)
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{each}_temp_path {folder}/{each};\n" for each in places)
    (folder / "nginx.conf").write_text(
        f"daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}server {{\nlisten 127.0.0.1:{port};\n{location}\n}}\n}}\n"
    )
    outside.give(folder)
    command = [program, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    running = outside.start(command, folder / "out", {}, outside.owner())

    def listens() -> bool:
        assert running.poll() is None, (folder / "error.log").read_text()
        return (folder / "pid").exists() and bool((folder / "pid").read_text())

    try:
        eventually_blocking(listens)
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
        yield said.strip().rpartition("/")[2].split()[0]
    finally:
        outside.end(running)
        rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("location", [KEEPS, STRIPS], ids=["kept", "stripped"])
async def test_api_and_pages_work_under_a_prefix(location: str, tried: Tried, request: pytest.FixtureRequest) -> None:
    """A reminder is delivered, its receipts come by the public URL, and every link of answers and pages leads on."""
    proxy, port = free_port(), free_port()
    servers = ExitStack()
    where = location.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    version = await asyncio.to_thread(servers.enter_context, nginx(proxy, where))
    origin = f"http://127.0.0.1:{proxy}"
    chosen = {"port": port, "public_url": origin + PREFIX}
    try:
        async with up("2026-11-24T10:00:00+08:00", **chosen) as running:
            http = running.http
            posted = await http.post(f"{origin}{PREFIX}/v1/notifications", json=REQUEST, headers=running.headers)
            answer = await posted.json()
            assert posted.status == 202
            assert answer["links"]["self"] == f"{PREFIX}/v1/notifications/{answer['id']}" == posted.headers["Location"]
            found = await http.get(origin + answer["links"]["self"], headers=running.headers)
            assert found.status == 200
            # The provider's receipt comes back through the proxy, signed for the public URL.
            ended = await running.until_at_rest(answer["id"])
            assert ended["deliveries"][0]["state"] == "delivered"
            again = {**REQUEST, "case": {**REQUEST["case"], "id": "C-78"}}
            await http.post(f"{origin}{PREFIX}/v1/notifications", json=again, headers=running.headers)
            listed = await http.get(f"{origin}{PREFIX}/v1/notifications?limit=1", headers=running.headers)
            assert str(listed.links["next"]["url"]).startswith(f"{origin}{PREFIX}/v1/notifications?")
            pages = [await _complete(http, f"{origin}{PREFIX}{path}") for path in ("/editor", "/docs", "/inbox")]
            assert pages[0].endswith(f"{PREFIX}/editor/sign-in?back=/editor")
            document = await (await http.get(f"{origin}{PREFIX}/openapi.json")).json()
            assert document["servers"] == [{"url": PREFIX}]
            how = request.node.callspec.id
            tried(f"nginx {version}", f"a reminder under a prefix, {how} by the proxy", "delivered", "", "its receipt")
    finally:
        await asyncio.to_thread(servers.close)


async def _complete(http: aiohttp.ClientSession, url: str) -> str:
    """The address of the page after redirects; all that it names is there."""
    answer = await http.get(url)
    assert answer.status == 200
    for link in re.findall(r'\s(?:href|src)="([^"#]+)"', await answer.text()):
        if not link.startswith(("data:", "http", "mailto:")):
            named = await http.get(urljoin(str(answer.url), link.replace("&amp;", "&")))
            assert named.status == 200, link
            assert named.url.path.startswith(PREFIX), link
    return str(answer.url)
