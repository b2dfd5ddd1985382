"""The OpenAPI document is good enough for a generator: a TypeScript client compiles, and works against a server."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.support.app_client import AppClient

_SOURCE = Path(__file__).parents[2] / "support" / "typescript"
_SECONDS = 120  # for each program; none needs a tenth of it on a quiet machine


async def _run(folder: Path, *command: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: no TypeScript client can be generated")
async def test_a_generated_typescript_client_compiles_and_works(app_client: AppClient, tmp_path: Path) -> None:
    """openapi-typescript's types, tsc in strict mode, and openapi-fetch: accept, repeat, look, be refused, list."""
    folder = tmp_path / "client"
    shutil.copytree(_SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "built"))
    status, output = await _run(folder, "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
    if status:
        pytest.skip(f"npm can't install the locked packages here: {output[-300:]}")
    (folder / "openapi.json").write_bytes((await app_client.get("/openapi.json")).raw)
    for command in (
        (
            "npx",
            "--no-install",
            "openapi-typescript",
            "openapi.json",
            "-o",
            "schema.ts",
            "--default-non-nullable",
            "false",
        ),
        ("npx", "--no-install", "tsc", "--project", "."),
    ):
        status, output = await _run(folder, *command)
        assert status == 0, output
    reached = {"GATEWAY_URL": app_client.url, "GATEWAY_API_KEY": app_client.token}
    assert await _run(folder, "node", "built/client.js", **reached) == (0, "ok\n")
