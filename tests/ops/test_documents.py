"""The documents: their links lead somewhere, and the README stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from channels import registry
from tests.ops.promtool import OPS

ROOT = OPS.parent
DOCUMENTS = [ROOT / "README.md", *sorted(OPS.rglob("*.md")), *sorted((ROOT / "templates").rglob("*.md"))]
# Three minutes at 230 words a minute, the mean for English non-fiction (Brysbaert 2019, 238 words a minute).
_README_WORDS = 690


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(document: Path) -> None:
    """A relative link names a file or folder that exists."""
    text = re.sub(r"`[^`\n]*`", "", document.read_text("utf-8"))  # code shows how links are written
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_what_the_doctor_asks_is_said_of_each_kind_of_provider() -> None:
    """A channel that ships is in the table, whichever way it is reached."""
    table = (OPS / "channels.md").read_text("utf-8").partition("## What the doctor asks")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", table, re.MULTILINE)
    offered = [(name, kind) for name, channel in registry.discover().items() for kind in channel.kinds]
    assert sorted(listed) == sorted(offered)


def test_the_readme_reads_in_three_minutes() -> None:
    """What it is, how to start, one request, a picture, and where to go on."""
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= _README_WORDS
