"""nginx/gateway.conf behind nginx itself: case systems need a certificate, others reach their own paths alone."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.api_gateway import app_of, open_api_gateway, request, serving
from tests.support.production import free_port
from tests.support.storage.ledgers import NOW
from tests.support.waiting import eventually

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"
CLIENTS, PUBLIC = "case-systems.gateway.example.com", "gateway.example.com"
# What nginx needs around the file, without a service's folders and user.
AROUND = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/gateway.conf;
}}
"""


def _openssl(folder: Path) -> None:
    """The README's authority and client, another authority's client, and the servers' certificates."""
    readme = (DEPLOY / "README.md").read_text()
    [commands] = re.findall(r"```sh\n(openssl req -x509 [^\n]*case systems.*?)curl", readme, re.DOTALL)
    foreign = commands.replace("clients_ca", "foreign_ca").replace("collections-1", "foreign")
    server = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN={host}' -addext 'subjectAltName=DNS:{host}' "
        "-keyout {name}_key.pem -out {name}_cert.pem"
    )
    servers = [server.format(host=host, name=name) for host, name in ((CLIENTS, "case-systems"), (PUBLIC, "public"))]
    script = "\n".join([commands, foreign, *servers])
    subprocess.run(["sh", "-ec", script], cwd=folder, check=True, capture_output=True)


class Balancer:
    """nginx on a port of loopback, and a client that can have a certificate."""

    def __init__(self, folder: Path, port: int, key: str, http: aiohttp.ClientSession) -> None:
        self._folder = folder
        self._port = port
        self._key = key
        self._http = http

    async def call(
        self, path: str, *, host: str, certificate: str = "", method: str = "GET", body: object = None, header: str = ""
    ) -> int:
        """The status. ``host`` is whom TLS asks for, and the Host header unless ``header`` is another."""
        context = ssl.create_default_context()
        for name in ("case-systems", "public"):
            context.load_verify_locations(self._folder / f"{name}_cert.pem")
        if certificate:
            context.load_cert_chain(self._folder / f"{certificate}_cert.pem", self._folder / f"{certificate}_key.pem")
        url = f"https://127.0.0.1:{self._port}{path}"
        headers = {"Host": header or host, "Authorization": f"Bearer {self._key}"}
        async with self._http.request(
            method, url, json=body, headers=headers, ssl=context, server_hostname=host
        ) as answer:
            return answer.status


@pytest.fixture
async def balancer(tmp_path: Path, redis_url: str) -> AsyncIterator[Balancer]:
    """A gateway behind nginx with the shipped file; ports and paths are the test's."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
    await asyncio.to_thread(_openssl, tmp_path)
    public_url = f"https://{PUBLIC}"
    async with (
        open_api_gateway(tmp_path, redis_url, public_url=public_url) as gateway,
        serving(app_of(gateway)) as url,
        aiohttp.ClientSession() as http,
    ):
        _, key = await gateway.ledger.keys.create("acme", "case system", ["send", "read"], NOW)
        port = free_port()
        shipped = (DEPLOY / "nginx" / "gateway.conf").read_text()
        made = shipped.replace("/etc/nginx/gateway", str(tmp_path)).replace("443 ssl", f"127.0.0.1:{port} ssl")
        made = made.replace("    server 127.0.0.1:8081;\n", "").replace("127.0.0.1:8080", url.removeprefix("http://"))
        (tmp_path / "gateway.conf").write_text(made)
        (tmp_path / "nginx.conf").write_text(AROUND.format(folder=tmp_path))
        running = subprocess.Popen(  # noqa: ASYNC220 – begins at once, and ends below
            [nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], stderr=subprocess.DEVNULL
        )

        async def up() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        try:
            await eventually(up)
            yield Balancer(tmp_path, port, key, http)
        finally:
            running.terminate()
            await asyncio.to_thread(running.wait)


async def test_a_case_system_needs_its_certificate_and_its_key(balancer: Balancer) -> None:
    """With both a reminder is accepted; without a certificate, or with another authority's, nginx refuses (400)."""
    for certificate, expected in (("collections-1", 202), ("", 400), ("foreign", 400)):
        status = await balancer.call(
            "/v1/notifications", host=CLIENTS, certificate=certificate, method="POST", body=request()
        )
        assert status == expected, certificate
    assert await balancer.call("/ops", host=CLIENTS, certificate="collections-1") == 404
    assert await balancer.call("/metrics", host=CLIENTS, certificate="collections-1") == 404


async def test_the_public_name_leads_to_no_api_of_case_systems(balancer: Balancer) -> None:
    """Providers and borrowers reach their paths without a certificate; a key alone reaches nothing else there."""
    for path, expected in (
        ("/v1/unsubscribe/x", 404),
        ("/v1/inbox", 401),
        ("/v1/notifications", 404),
        ("/v1/keys", 404),
        ("/editor", 404),
        ("/metrics", 404),
    ):
        assert await balancer.call(path, host=PUBLIC) == expected, path
    assert await balancer.call("/v1/receipts/twilio", host=PUBLIC, method="POST", body={}) == 403
    # Asked for by the public name and addressed to the other one, so that no certificate would be needed.
    assert await balancer.call("/v1/notifications", host=PUBLIC, header=CLIENTS) == 421
