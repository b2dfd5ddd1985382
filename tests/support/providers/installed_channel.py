"""Installs a channel's package into a folder, as an installer would leave it there; nothing is downloaded."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from channels.registry import GROUP

EXAMPLE = Path(__file__).parents[2] / "example_channel"


def install(pyproject: Path, target: Path) -> None:
    """What an installer leaves for importlib.metadata to find, made from the project's own declaration."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    info = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", "utf-8"
    )
    points = project["entry-points"][GROUP]
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines), "utf-8")


def install_example(target: Path) -> None:
    """The package of the channel ``letter``."""
    install(EXAMPLE / "pyproject.toml", target)
    shutil.copytree(EXAMPLE / "src" / "example_channel", target / "example_channel")
