"""What a template consists of before it is compiled, and what keeps it from being compiled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.templates.translatable import Translatable, translatable

FRAGMENTS = "_fragments"


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """Why a part can't be compiled. ``line`` and ``column`` count from 1, 0 where it has no place."""

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
    """A template can't be used. The message has all ``problems``, with file, line and column where there are any."""

    def __init__(self, problems: Sequence[TemplateProblem]) -> None:
        super().__init__("; ".join(str(each) for each in problems))
        self.problems = tuple(problems)

    @classmethod
    def at(cls, where: str, detail: str, line: int = 0, column: int = 0) -> BadTemplate:
        """One that says this."""
        return cls([TemplateProblem(where, line, column, detail)])


@dataclass(frozen=True, slots=True)
class Lender:
    """Who writes: stands in every message."""

    name: str
    phone: str
    help_url: str


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """One template's files, with the shared fragments as they were: all that its rendering depends on."""

    id: str
    settings: Mapping[str, Any]  # template.toml
    parts: Mapping[str, str]  # "en-US/sms.liquid" → text
    fragments: Mapping[str, str]  # "en-US/opt-out.liquid" → text

    def dump(self) -> str:
        """As JSON, for the ledger: a pinned version outlives the files it came from."""
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
        """The editors' number and what it stood for: another text is another version, whatever the number says."""
        return f"{self.settings['version']}-{self.digest[:8]}"
