"""One version of one template, compiled: immutable, and the only thing that renders."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from liquid import BoundTemplate

from channels.base import Content
from gateway.catalog import language
from gateway.catalog.segments import REPLACEMENTS
from gateway.catalog.source import BadTemplate, Lender, Problem, Source
from gateway.catalog.variables import VariableProblem, VariableSpec, check, values
from gateway.ports import RenderFailed

# What a message on each channel is made of: the part's file, and the field of Content that it fills.
PARTS: Mapping[str, Mapping[str, str]] = {
    "sms": {"sms.liquid": "text"},
    "email": {"email.subject.liquid": "subject", "email.txt.liquid": "text", "email.html.liquid": "html"},
    "inapp": {"inapp.title.liquid": "subject", "inapp.txt.liquid": "text"},
}
_SPACES = str.maketrans({space: " " for space in REPLACEMENTS if unicodedata.category(space) == "Zs"})


class TemplateVersion:
    """A compiled version. Raises BadTemplate with every problem of every part.

    ``problems`` given: they go there instead, for an editor's draft; a channel with a problem can't be rendered.
    """

    def __init__(self, source: Source, lender: Lender, problems: list[Problem] | None = None) -> None:
        self.source = source
        self.id = source.id
        self.version = source.version
        self.category: str = source.settings["category"]
        self.must_arrive: bool = source.settings.get("must_arrive", False)
        self.title: str = source.settings["title"]
        self.default_locale: str = source.settings["default_locale"]
        self.variables = {
            name: VariableSpec(
                name, each["type"], each.get("required", True), str(each["example"]), each["description"]
            )
            for name, each in source.settings["variables"].items()
        }
        self.locales: Sequence[str] = sorted({name.split("/")[0] for name in source.parts})
        self._lender = asdict(lender)
        self._parts: dict[tuple[str, str], list[tuple[str, BoundTemplate]]] = {}
        found: list[Problem] = [] if problems is None else problems
        for locale in self.locales:
            self._compile(locale, found)
        if found and problems is None:
            raise BadTemplate.of(found)
        if self.default_locale not in self.locales:
            raise BadTemplate(f"{self.id}/template.toml: default_locale: there is no folder {self.default_locale}")
        self.channels: Sequence[str] = [name for name in PARTS if (self.default_locale, name) in self._parts]

    def _compile(self, locale: str, problems: list[Problem]) -> None:
        fragments = {
            name.split("/", 1)[1].removesuffix(".liquid"): text
            for name, text in self.source.fragments.items()
            if name.startswith(f"{locale}/")
        }
        constants = {f"lender.{name}": value for name, value in self._lender.items()} | {"locale": locale}
        made = {html: language.environment(html=html) for html in (False, True)}
        for channel, files in PARTS.items():
            present = {file: self.source.parts.get(f"{locale}/{file}") for file in files}
            if not any(present.values()):
                continue
            compiled = []
            for file, text in present.items():
                where = f"{self.id}/{locale}/{file}"
                if text is None:
                    problems.append(
                        Problem(where, 0, 0, f"is missing; a message on {channel} needs {', '.join(files)}")
                    )
                    continue
                try:
                    whole = language.settle(language.expand(text, fragments, where), constants, html=".html." in file)
                    compiled.append((files[file], language.compile_part(made[".html." in file], whole, where)))
                except RenderFailed as error:
                    problems.append(_problem(where, str(error)))
            if len(compiled) == len(files):
                self._parts[(locale, channel)] = compiled

    def locale_for(self, wanted: str, channel: str) -> str:
        """The locale that is used for ``wanted``: itself, then its language elsewhere, then the default."""
        language_code = wanted.split("-")[0]
        candidates = [wanted, *(each for each in self.locales if each.split("-")[0] == language_code)]
        return next((each for each in candidates if (each, channel) in self._parts), self.default_locale)

    def check(self, given: Mapping[str, Any]) -> list[VariableProblem]:
        """What is wrong with the variables of a request."""
        return check(self.variables, given)

    def render(
        self, channel: str, locale: str, given: Mapping[str, Any], borrower_name: str, jurisdiction: str = ""
    ) -> Content:
        """The message, as previewed and sent. ``jurisdiction`` "": the locale's country. Raises RenderFailed."""
        used = self.locale_for(locale, channel)
        parts = self._parts.get((used, channel))
        if parts is None:
            raise RenderFailed(f"{self.id}: has no text for {channel}")
        try:
            known = values(self.variables, given)
        except (ValueError, TypeError, ArithmeticError):
            raise RenderFailed(f"{self.id}: a variable has the wrong type") from None
        known |= {"borrower": {"name": borrower_name}, "lender": self._lender, "locale": used}
        rendered = {field: language.render_part(template, known) for field, template in parts}
        if "subject" in rendered:
            rendered["subject"] = " ".join(rendered["subject"].split())  # one line, whatever a name contains
        if channel == "sms":
            # Number formats use no-break spaces, which alone would make the text UCS-2 and twice as dear.
            rendered["text"] = rendered["text"].translate(_SPACES).strip()
        return Content(**rendered)


def _problem(where: str, message: str) -> Problem:
    place, _, detail = message.removeprefix(where).partition(": ")
    numbers = [int(each) for each in place.split(":") if each.isdigit()]
    line, column = numbers if len(numbers) == 2 else (0, 0)
    return Problem(where, line, column, detail or message)
