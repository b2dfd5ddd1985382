"""Containers' processes without a container engine: with the command, environment and mounts of deployment files.

A container's paths are below a folder of its own: those that the file mounts are there, and nothing else of them is, so
that a wrong path is one here, too. Each container has a loopback address, and its name leads there (libnss-wrapper), so
that ports are the containers' own. Must not know which files describe the containers.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import outside

DOCKERFILE = Path(__file__).parents[2] / "ops" / "deploy" / "Dockerfile"
_TEXT = (".yml", ".yaml", ".json", ".conf", ".acl", "")
_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|0\.0\.0\.0)(?=[:\"']|$)")


def gateway_image() -> tuple[list[str], dict[str, str]]:
    """The entry point and the environment that the Dockerfile's run-time stage has."""
    stage = re.split(r"^FROM ", DOCKERFILE.read_text().replace("\\\n", " "), flags=re.MULTILINE)[2]
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", stage, re.MULTILINE)
    words = [word for line in re.findall(r"^ENV (.*)$", stage, re.MULTILINE) for word in shlex.split(line)]
    environment = dict(word.split("=", 1) for word in words)
    return [each.strip(' "') for each in entry.strip("[]").split(",")], environment


@dataclass
class Network:
    """Names and addresses of the containers of one test."""

    folder: Path
    block: str  # the first three octets of a loopback network that no other test uses
    addresses: dict[str, str] = field(default_factory=dict)

    def address(self, name: str) -> str:
        if name not in self.addresses:
            self.addresses[name] = f"{self.block}.{len(self.addresses) + 1}"
            lines = "".join(f"{address} {each}\n" for each, address in self.addresses.items())
            (self.folder / "hosts").write_text(lines)
        return self.addresses[name]

    def environment(self) -> dict[str, str]:
        library = "usr/lib/x86_64-linux-gnu/libnss_wrapper.so"
        root = outside.unpacked(library)
        copy = self.folder / "libnss_wrapper.so"
        if not copy.exists():
            shutil.copy(root / library, copy)
            copy.chmod(0o755)
        return {"LD_PRELOAD": str(copy), "NSS_WRAPPER_HOSTS": str(self.folder / "hosts")}


@dataclass
class Container:
    """One container. ``mounts``: by its path in the container a file or folder here, or None for an empty folder."""

    name: str
    network: Network
    command: Sequence[str]
    environment: Mapping[str, str]
    mounts: Mapping[str, Path | None]
    programs: Mapping[str, Sequence[str]]  # what stands for the programs that the image has
    user: str | None = None
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.address = self.network.address(self.name)
        self.root = self.network.folder / self.name
        self.log = self.network.folder / f"{self.name}.log"
        for path, source in self.mounts.items():
            self._mount(self.root / path.lstrip("/"), source)
        if self.user:
            self.network.folder.chmod(0o755)
            outside.give(self.root)

    def _mount(self, target: Path, source: Path | None) -> None:
        if source is None:
            target.mkdir(parents=True, exist_ok=True)
        elif source.is_dir():
            for each in source.iterdir():
                self._mount(target / each.name, each)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            if source.suffix in _TEXT:
                target.write_text(self.local(target.read_text()))
            target.chmod(0o600 if self.user else 0o644)

    def local(self, text: str) -> str:
        """A text with the container's paths and its own loopback address as they are here."""
        places = {str(Path(path) if source is None else Path(path).parent) for path, source in self.mounts.items()}
        any_place = "|".join(re.escape(place) for place in sorted(places - {"/"}, key=len, reverse=True))
        return re.sub(rf"(?<![\w./-])({any_place})(?=/|$|[\s\"'&?,:])", rf"{self.root}\1", text)

    def _words(self, command: Sequence[str]) -> list[str]:
        program, *rest = command
        return [*self.programs[program], *(_LOOPBACK.sub(self.address, self.local(each)) for each in rest)]

    def _environment(self) -> dict[str, str]:
        own = {name: _LOOPBACK.sub(self.address, self.local(value)) for name, value in self.environment.items()}
        given = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**given, **self.network.environment(), **own, "PATH": path}

    def start(self) -> None:
        """Begin its process."""
        self.process = outside.start(self._words(self.command), self.log, self._environment(), self.user)

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run something to its end, as ``docker compose exec`` and health checks do."""
        return subprocess.run(
            self._words(command),
            env=self._environment(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **outside.rights(self.user),
        )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ended_well(self) -> bool:
        """Whether it has come to its end. Fails with what it said where it failed."""
        assert self.process is not None
        status = self.process.poll()
        assert status in (None, 0), f"{self.name} ended with {status}: {self.said[-2000:]}"
        return status == 0

    def stop(self, seconds: float) -> bool:
        """SIGTERM; whether it ended within its grace period. Killed after that."""
        if self.process is None or self.process.poll() is not None:
            return True
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            outside.end(self.process)
            return False
        return True


def start_in_order(
    containers: Mapping[str, Container],
    conditions: Mapping[str, Mapping[str, str]],
    is_healthy: Callable[[Container], bool],
    wait: Callable[[Callable[[], bool]], object],
) -> Iterator[str]:
    """Start each container once what it waits for is as its conditions say; the names in the order of the starts."""
    left = list(containers)
    while left:
        ready = [name for name in left if all(each not in left for each in conditions.get(name, {}))]
        assert ready, f"these wait for each other: {left}"
        for name in ready:
            for other, condition in conditions.get(name, {}).items():
                target = containers[other]
                met = {
                    "service_started": target.lives,
                    "service_healthy": lambda target=target: is_healthy(target),
                    "service_completed_successfully": target.ended_well,
                }[condition]
                wait(met)
            containers[name].start()
            left.remove(name)
            yield name


def needed(program: str, *folders: str) -> str:
    """The path of an installed program; skips the test where there is none."""
    found = shutil.which(program, path=os.pathsep.join([*folders, os.environ["PATH"], "/usr/sbin"]))
    if found is None:
        pytest.skip(f"{program} is not installed (ops/debian-packages)")
    return str(found)
