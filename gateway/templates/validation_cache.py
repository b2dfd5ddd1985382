"""What was found good once is not looked at again: a mark for a template that passed every check of this program.

Compiling and linting a thousand templates takes minutes, and comes to the same at each start with the same program,
the same words and the same texts. The mark depends on all of these, so whatever changes has the template checked anew.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from gateway.templates.language.source import Lender, TemplateSource

_LIBRARIES = ("python-liquid", "mrml", "css-inline", "babel")


class ValidationCache:
    """Marks of templates: one for each text, under one program, for one lender, with one set of the lint's words."""

    def __init__(self, lender: Lender, words: Path) -> None:
        """``words`` is the folder of the lint's word lists. Raises OSError."""
        given = [_program(), asdict(lender), _digest_of(words, "*.toml")]
        self._given = json.dumps(given, sort_keys=True)

    def mark(self, source: TemplateSource) -> str:
        """64 hexadecimal digits, the same for what can only be judged the same."""
        return hashlib.sha256(f"{self._given}{source.digest}".encode()).hexdigest()


@lru_cache(maxsize=1)
def _program() -> str:
    """What judges: this package, and the libraries that read, lay out and write texts."""
    libraries = [f"{name} {version(name)}" for name in _LIBRARIES]
    return " ".join([platform.python_version(), *libraries, _digest_of(Path(__file__).parent, "**/*.py")])


def _digest_of(folder: Path, pattern: str) -> str:
    found = hashlib.sha256()
    for file in sorted(folder.glob(pattern)):
        content = file.read_bytes()
        found.update(f"{file.relative_to(folder)} {len(content)} ".encode() + content)
    return found.hexdigest()
