"""The lock files in ops/requirements: whole, hashed, from any index, and what pyproject.toml asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "ops" / "requirements"
FILES = sorted(LOCKS.glob("*.lock"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: Mapping[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
OURS = canonicalize_name(PYPROJECT["project"]["name"])
# What is installed together (ops/environment, ops/deploy/Dockerfile), and what has to be in it.
TOGETHER: Mapping[str, tuple[tuple[str, ...], list[str]]] = {
    "build": (("build",), PYPROJECT["build-system"]["requires"]),
    "demo": (("run",), PYPROJECT["project"]["dependencies"]),
    "image": (("run", "production"), [f"{OURS}[dkim,otel,smpp]"]),
    "test": (("build", "run", "production", "test"), [f"{OURS}[test]"]),
    "bench": (("build", "run", "production", "test", "bench"), [f"{OURS}[test,bench]"]),
}


def entries(path: Path) -> list[list[str]]:
    """A lock file's requirements, each with its hashes."""
    text = path.read_text().replace("\\\n", " ")
    return [re.split(r"\s+--hash=", line.strip()) for line in text.splitlines() if line and not line.startswith("#")]


def pins(names: Iterable[str]) -> dict[str, str]:
    """Versions by package, of those that this Python gets."""
    found = [Requirement(each[0]) for name in names for each in entries(LOCKS / f"{name}.lock")]
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in found
        if each.marker is None or each.marker.evaluate()
    }


def wanted(declared: Iterable[str], extra: str = "") -> Iterator[Requirement]:
    """What is declared, with our own extras in place of their names."""
    for requirement in map(Requirement, declared):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        if canonicalize_name(requirement.name) != OURS:
            yield requirement
            continue
        yield from wanted(PYPROJECT["project"]["dependencies"])
        for each in requirement.extras:
            yield from wanted(EXTRAS[each])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_archive_is_pinned_and_hashed(path: Path) -> None:
    """One version, at least one SHA-256 for each, and no URL: whatever index serves it, it is the same archive."""
    found = entries(path)
    assert found
    for requirement, *hashes in found:
        assert re.fullmatch(r"[a-z0-9._-]+==[^\s,*]+( ; .+)?", requirement)
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), requirement
    assert "://" not in path.read_text()


@pytest.mark.parametrize("purpose", TOGETHER)
def test_what_is_declared_is_locked(purpose: str) -> None:
    """Each dependency is there, in a version that pyproject.toml allows. Otherwise: ops/requirements/generate."""
    names, declared = TOGETHER[purpose]
    locked = pins(names)
    for requirement in wanted(declared):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not locked for {purpose}: run ops/requirements/generate"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is locked as {version}"


@pytest.mark.parametrize("purpose", TOGETHER)
def test_what_is_locked_is_complete(purpose: str) -> None:
    """What the dependencies need themselves is there too: nothing is resolved when they are installed."""
    names, declared = TOGETHER[purpose]
    locked, seen = pins(names), set[tuple[str, str]]()
    todo = [(requirement, extra) for requirement in wanted(declared) for extra in ("", *requirement.extras)]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{requirement} is not locked for {purpose}: run ops/requirements/generate"
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue  # tests run without what benchmarks need
        todo += [(each, more) for each in wanted(needed, extra) for more in ("", *each.extras)]


def test_all_lock_files_are_of_one_resolution() -> None:
    """A package that is in several has one version, but for the rivals of the benchmarks, which live apart."""
    versions: dict[str, set[str]] = {}
    for path in FILES:
        if path.stem not in ("rivals", "jasmin"):
            for requirement, *_ in entries(path):
                versions.setdefault(requirement.partition("==")[0], set()).add(requirement)
    differing = {name: found for name, found in versions.items() if len(found) > 1}
    assert all(all(";" in each for each in found) for found in differing.values()), differing


def test_these_files_are_what_is_installed() -> None:
    """ops/demo, ops/test and ops/bench/run install what is checked here, and so does the image."""
    shell = (ROOT / "ops" / "environment").read_text()
    for purpose, (names, _) in {"run": TOGETHER["demo"], **TOGETHER}.items():
        if purpose in ("run", "test", "bench"):
            (line,) = re.findall(rf"^ +{purpose}\) locks=\((.+)\) ;;$", shell, re.MULTILINE)
            assert set(line.split()) == {"build", *names}
    image = (ROOT / "ops" / "deploy" / "Dockerfile").read_text()
    assert set(re.findall(r"-r ops/requirements/(\w+)\.lock", image)) == {"build", *TOGETHER["image"][0]}
    assert image.count("--require-hashes") == 2  # for what builds, and for what runs; the project itself has no hash


SHELL = """
set -euo pipefail
eval "$(sed '/^# Two starts at once/,$d' ops/environment)"
take_over_index "$1"
env
"""


def handed_over(python: Path, **variables: str) -> dict[str, str]:
    """The environment that uv gets where pip has these settings."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(python.parent), **variables}
    command = ["bash", "-c", SHELL, "environment", str(python)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.fixture
def python(tmp_path: Path) -> Any:
    """A Python whose pip has settings of each kind, as ``pip config list`` shows them."""
    path = tmp_path / "python"
    settings = [
        ":env:.index-url='https://one.example/simple'",
        "global.index-url='https://two.example/simple'",
        "global.extra-index-url='\\nhttps://three.example/simple\\nhttps://four.example/a=b'",
        "install.cert='/etc/ours.pem'",
    ]
    path.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(settings) + "\nEND\n")
    path.chmod(0o755)
    return path


def test_packages_come_from_where_pip_is_told_to_get_them(python: Path) -> None:
    """pip's index, further indexes and certificates are uv's, in pip's order; what uv is told itself stays."""
    given = handed_over(python)
    assert given["UV_DEFAULT_INDEX"] == "https://one.example/simple"
    assert given["UV_INDEX"] == "https://three.example/simple https://four.example/a=b"
    assert given["SSL_CERT_FILE"] == "/etc/ours.pem"
    assert "UV_NO_INDEX" not in given
    own = handed_over(python, UV_DEFAULT_INDEX="https://five.example/simple")
    assert own["UV_DEFAULT_INDEX"] == "https://five.example/simple"


def test_the_bill_of_materials_is_what_the_image_installs() -> None:
    """CycloneDX, valid by its schema: every locked package of the image with its version and hashes, and no other."""
    made = subprocess.run([sys.executable, str(LOCKS / "sbom")], capture_output=True, text=True, check=True).stdout
    document = json.loads(made)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == OURS
    found = {
        (each["name"], each["version"], frozenset(h["content"] for h in each["externalReferences"][0]["hashes"]))
        for each in document["components"]
    }
    locked = set()
    for name in ("run", "production"):
        for requirement, *hashes in entries(LOCKS / f"{name}.lock"):
            pinned = Requirement(requirement)
            version = str(pinned.specifier).removeprefix("==")
            locked.add((pinned.name, version, frozenset(each.removeprefix("sha256:") for each in hashes)))
    assert found == locked
