"""The source of a template, and the problems that keep it from being compiled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.templates.translatable import Translatable, translatable

FRAGMENTS = "_fragments"
SETTINGS = "template.toml"  # a template's file that is no text


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """A compile error. ``line`` and ``column`` count from 1, 0 for the whole part."""

    where: str  # template/locale/part
    line: int
    column: int
    detail: str

    @property
    def sentence(self) -> Translatable:
        place = f":{self.line}:{self.column}" if self.line else ""
        return translatable("{where}: {detail}", where=self.where + place, detail=self.detail)

    def __str__(self) -> str:
        return str(self.sentence)


class BadTemplate(Exception):
    """A template can't be compiled. The message lists all ``problems`` with file, line and column."""

    def __init__(self, problems: Sequence[TemplateProblem]) -> None:
        super().__init__("; ".join(str(each) for each in problems))
        self.problems = tuple(problems)

    @classmethod
    def at(cls, where: str, detail: str, line: int = 0, column: int = 0) -> BadTemplate:
        """A BadTemplate with this one problem."""
        return cls([TemplateProblem(where, line, column, detail)])


@dataclass(frozen=True, slots=True)
class Lender:
    """The sender, named in every message."""

    name: str
    phone: str
    help_url: str


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A template's files and the shared fragments of their time: everything that rendering depends on."""

    id: str
    settings: Mapping[str, Any]  # template.toml
    parts: Mapping[str, str]  # "en-US/sms.liquid" → text
    fragments: Mapping[str, str]  # "en-US/opt-out.liquid" → text

    def dump(self) -> str:
        """As JSON, for the ledger: a version that requests are pinned to is kept longer than its files."""
        return json.dumps(
            {"id": self.id, "settings": self.settings, "parts": self.parts, "fragments": self.fragments},
            sort_keys=True,
            ensure_ascii=False,
        )

    @classmethod
    def parse(cls, text: str) -> TemplateSource:
        return cls(**json.loads(text))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.dump().encode()).hexdigest()

    @property
    def version(self) -> str:
        """The editors' number with a digest of the content, so that another text is always another version."""
        return f"{self.settings['version']}-{self.digest[:8]}"
