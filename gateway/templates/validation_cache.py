"""Marks for templates that passed every check, so that a start doesn't validate unchanged templates again.

Compiling and linting a thousand templates takes minutes, with the same result as long as program, word lists and texts
are the same. The mark is a digest of all of these, so a change of any has the template validated again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from channels.profile import Profiles
from gateway.templates.language.source import Lender, TemplateSource

_LIBRARIES = ("python-liquid", "mrml", "css-inline", "babel")


class ValidationCache:
    """Computes the mark of a source, for this program, one lender and one set of word lists."""

    def __init__(self, lender: Lender, words: Path, profiles: Profiles) -> None:
        """``words`` is the folder of the lint's word lists. Raises OSError."""
        given = [_program(), asdict(lender), _digest_of(words, "*.toml"), _declared(profiles)]
        self._given = json.dumps(given, sort_keys=True)

    def mark(self, source: TemplateSource) -> str:
        """64 hexadecimal digits (SHA-256), the same for sources whose validation has the same result."""
        return hashlib.sha256(f"{self._given}{source.digest}".encode()).hexdigest()


def _declared(profiles: Profiles) -> str:
    """What the channels declare, with a digest of the file that has a channel's own check.

    Nothing in it may differ between two processes of one program, as addresses of objects and the order of sets do.
    """
    return msgspec.json.encode(dict(profiles), enc_hook=_digest_of_code, order="deterministic").decode()


def _digest_of_code(check: Any) -> str:
    return hashlib.sha256(Path(check.__code__.co_filename).read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def _program() -> str:
    """A digest of the code that validates: this package, and the versions of the libraries that parse and render."""
    libraries = [f"{name} {version(name)}" for name in _LIBRARIES]
    return " ".join([platform.python_version(), *libraries, _digest_of(Path(__file__).parent, "**/*.py")])


def _digest_of(folder: Path, pattern: str) -> str:
    found = hashlib.sha256()
    for file in sorted(folder.glob(pattern)):
        content = file.read_bytes()
        found.update(f"{file.relative_to(folder)} {len(content)} ".encode() + content)
    return found.hexdigest()
