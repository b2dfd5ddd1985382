"""One compiled version of one template: immutable, and the only code that renders messages."""

from __future__ import annotations

import re
import unicodedata
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from channels.content import Content
from channels.profile import Profiles
from gateway.core.errors import RenderFailed
from gateway.core.security.message_links import NO_LINKS, MessageLinks
from gateway.templates.language.composed import ComposedText, texts
from gateway.templates.language.formats import locale_of
from gateway.templates.language.language import CompiledPart, PartScope, compile_part, problem_at
from gateway.templates.language.source import BadTemplate, Lender, TemplateProblem, TemplateSource
from gateway.templates.language.variables import VariableProblem, VariableSpec, check, values
from gateway.templates.rendering.bare_links import with_links
from gateway.templates.rendering.sms_segments import REPLACEMENTS
from gateway.templates.translatable import translatable

# A message's link for declining further ones, where its channel has links for that (``unsubscribe_link``).
UNSUBSCRIBE_URL = "unsubscribe_url"
# A message's link to its reader's own page: preferences, help, what was sent. On every channel.
PAGE_URL = "page_url"
REFERENCE = "case.reference"
_SPACES = str.maketrans({space: " " for space in REPLACEMENTS if unicodedata.category(space) == "Zs"})
_LINE_ENDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
# Messages (of a locale, channel and jurisdiction) whose compiled texts are kept; our choice: some 150 MB, of a hundred
# templates with all their messages or of a thousand with those that two countries need.
_MOST_KEPT = 10_000
# Where a country has another name in the policy packs, and so in borrowers' jurisdictions.
_COUNTRIES = {"gb": "uk"}


def jurisdiction_of(name: str) -> str:
    """The country's jurisdiction: ``us`` for ``us-fl``; ``gb`` is an alias of ``uk``."""
    country = name.lower().replace("_", "-").partition("-")[0]
    return _COUNTRIES.get(country, country)


Compiled = Sequence[tuple[str, CompiledPart]]  # by the field of Content that each fills


class TemplateVersion:
    """A checked and compiled version. Raises BadTemplate with every problem of every part.

    ``profiles`` declare the channels that a text can be for.
    ``problems``: a list that receives the problems instead, for a draft; a channel with a problem can't be rendered.
    ``checked``: the version was validated before, so each part is compiled at its first use.
    """

    def __init__(
        self,
        source: TemplateSource,
        lender: Lender,
        profiles: Profiles,
        problems: list[TemplateProblem] | None = None,
        *,
        checked: bool = False,
    ) -> None:
        self.source = source
        self.profiles = profiles
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
        self._lender = {f"lender.{name}": value for name, value in asdict(lender).items()}
        self._types = _types(self.variables)
        # By locale and channel; within it by jurisdiction, "" for all that have no shared texts of their own. Empty for
        # what is compiled at its next use.
        self._parts: dict[tuple[str, str], dict[str, Compiled]] = {}
        # Of a draft, by locale, channel and jurisdiction: the parts that compile of a message that doesn't.
        self.incomplete: dict[tuple[str, str, str], Compiled] = {}
        found: list[TemplateProblem] = [] if problems is None else problems
        if checked:
            for locale in self.locales:
                jurisdictions = shared_texts(source.fragments, locale)
                for channel in self._channels(locale):
                    self._parts[(locale, channel)] = dict.fromkeys(jurisdictions, ())
        else:
            self._compile(found)
        if found and problems is None:
            raise BadTemplate(found)
        self.channels: Sequence[str] = [name for name in profiles if (self.default_locale, name) in self._parts]

    def _compile(self, problems: list[TemplateProblem]) -> None:
        if self.default_locale not in self.locales:
            where = f"{self.id}/template.toml"
            detail = translatable("default_locale: there is no folder {locale}", locale=self.default_locale)
            problems.append(TemplateProblem(where, 0, 0, detail))
        files = {file for profile in self.profiles.values() for file in profile.files}
        for name in sorted(self.source.parts):
            if name.partition("/")[2] not in files:
                detail = translatable("is not a template file; allowed: {known}", known=", ".join(sorted(files)))
                problems.append(TemplateProblem(f"{self.id}/{name}", 0, 0, detail))
        for locale in self.locales:
            try:
                locale_of(locale)
            except ValueError:
                problems.append(
                    TemplateProblem(
                        f"{self.id}/{locale}", 0, 0, translatable("is not a language code; write it like en-GB")
                    )
                )
                continue
            for channel in self._channels(locale):
                self._compile_channel(locale, channel, problems)

    def _channels(self, locale: str) -> Iterator[str]:
        for channel, profile in self.profiles.items():
            if any(f"{locale}/{file}" in self.source.parts for file in profile.files):
                yield channel

    def _compile_channel(self, locale: str, channel: str, problems: list[TemplateProblem]) -> None:
        by_jurisdiction: dict[str, Compiled] = {}
        for jurisdiction, fragments in shared_texts(self.source.fragments, locale).items():
            compiled = self._compile_message(locale, channel, fragments, problems)
            if {field for field, _ in compiled}.issuperset(part.field for part in self.profiles[channel].parts):
                by_jurisdiction[jurisdiction] = compiled
            else:
                self.incomplete[(locale, channel, jurisdiction)] = compiled
        if "" in by_jurisdiction:
            self._parts[(locale, channel)] = by_jurisdiction

    def _compile_message(
        self, locale: str, channel: str, fragments: Mapping[str, str], problems: list[TemplateProblem]
    ) -> Compiled:
        """Compile the parts; those with errors are left out, and the errors added to ``problems``."""
        # First, so that a version from before this name was reserved keeps a variable of its own.
        types = {PAGE_URL: "url", **self._types}
        types = {UNSUBSCRIBE_URL: "url", **types} if self.profiles[channel].unsubscribe_link else types
        scope = PartScope(locale, types, fragments, self._lender | {"locale": locale})
        compiled: list[tuple[str, CompiledPart]] = []
        broken: set[str] = set()
        for made in texts(self.profiles[channel], self.source.parts, locale, fragments, broken):
            found = self._compile_text(made, f"{self.id}/{locale}/{made.file}", channel, scope)
            if isinstance(found, CompiledPart):
                compiled.append((made.field, found))
            else:
                broken.add(made.field)
                problems += [each for each in found if each not in problems]
        return compiled

    def _compile_text(
        self, made: ComposedText, where: str, channel: str, scope: PartScope
    ) -> CompiledPart | list[TemplateProblem]:
        if made.error:
            return [problem_at(where, made.place, made.error)]
        if made.text is None:
            names = {"channel": channel, "parts": ", ".join(each.file for each in self.profiles[channel].parts)}
            detail = translatable("is missing; a message on {channel} needs {parts}", **names)
            return [TemplateProblem(where, 0, 0, detail)]
        return compile_part(made.text, where, scope, is_mail=made.is_mail, locate=made.locate)

    def drop_compiled(self, only: tuple[str, str, str] | None = None) -> None:
        """Free the compiled parts, or those of one (locale, channel, jurisdiction); the next use compiles them again.

        A concurrent render keeps its own reference.
        """
        places = [only] if only else [(*place, each) for place, found in self._parts.items() for each in found]
        for locale, channel, jurisdiction in places:
            self._parts[(locale, channel)][jurisdiction] = ()

    def locale_for(self, wanted: str, channel: str) -> str:
        """The locale that is used for ``wanted``: itself, then its language elsewhere, then the default.

        Chinese is two written languages: the locales that share the script come before those that don't.
        """
        if (wanted, channel) in self._parts:
            return wanted
        language = wanted.split("-")[0]
        same = [each for each in self.locales if each.split("-")[0] == language]
        candidates = sorted(same, key=lambda each: (_script(each) != _script(wanted), each))
        return next((each for each in candidates if (each, channel) in self._parts), self.default_locale)

    def parts(self, locale: str, channel: str, jurisdiction: str = "") -> Compiled:
        """The compiled parts by the field of Content that each fills; none where the channel has no text."""
        found = self._parts.get((locale, channel), {})
        wanted = jurisdiction_of(jurisdiction or locale.partition("-")[2])
        if wanted not in found:
            wanted = ""
        return found.get(wanted) or (self._compile_again(locale, channel, wanted) if found else ())

    def _compile_again(self, locale: str, channel: str, jurisdiction: str) -> Compiled:
        """For a text's first use, a few milliseconds. In several threads at once, all come to the same."""
        fragments = shared_texts(self.source.fragments, locale)[jurisdiction]
        problems: list[TemplateProblem] = []
        made = self._compile_message(locale, channel, fragments, problems)
        if problems:  # of a version that somebody else has found good
            return ()
        self._parts[(locale, channel)][jurisdiction] = made
        _recent.add(self, (locale, channel, jurisdiction))
        return made

    def jurisdictions(self, locale: str, channel: str) -> Sequence[str]:
        """Those whose texts are of their own, by shared texts; "" for all others."""
        return list(self._parts.get((locale, channel), {}))

    def check(self, given: Mapping[str, Any]) -> list[VariableProblem]:
        """What is wrong with the variables of a request."""
        return check(self.variables, given)

    def render(
        self,
        channel: str,
        locale: str,
        given: Mapping[str, Any],
        borrower_name: str,
        jurisdiction: str = "",
        *,
        reference: str = "",
        links: MessageLinks = NO_LINKS,
    ) -> Content:
        """The message, as previewed and sent. ``jurisdiction`` "": the locale's country. Raises RenderFailed.

        ``reference`` names the case. A link that the message has not is nil.
        """
        used = self.locale_for(locale, channel)
        parts = self.parts(used, channel, jurisdiction)
        if not parts:
            raise RenderFailed(translatable("{template}: has no text for {channel}", template=self.id, channel=channel))
        known = self._known(used, given, borrower_name, reference)
        known.setdefault(UNSUBSCRIBE_URL, links.unsubscribe_url or None)
        known.setdefault(PAGE_URL, links.page_url or None)
        rendered = {field: part.render(known) for field, part in parts}
        if self.profiles[channel].segmented:
            # Number formats use no-break spaces, which alone would make the text UCS-2 and twice as dear.
            return Content(rendered["text"].translate(_SPACES).strip())
        # What a condition leaves out leaves its empty lines behind.
        rendered["text"] = _BLANK_LINES.sub("\n\n", rendered["text"]).strip()
        if "subject" in rendered:  # one line, whatever a name contains
            rendered["subject"] = " ".join(_LINE_ENDS.sub(" ", rendered["subject"]).split())
        html = with_links(rendered.get("html", ""), self._texts_in(known))
        return Content(rendered["text"], rendered.get("subject", ""), html)

    def evaluate(
        self,
        channel: str,
        locale: str,
        given: Mapping[str, Any],
        borrower_name: str,
        expressions: Sequence[str],
        jurisdiction: str = "",
        reference: str = "",
    ) -> list[str]:
        """What these expressions come to in the message on a channel. Raises RenderFailed."""
        used = self.locale_for(locale, channel)
        fragments = shared_texts(self.source.fragments, used)
        wanted = jurisdiction_of(jurisdiction or used.partition("-")[2])
        scope = PartScope(used, self._types, fragments.get(wanted, fragments[""]), self._lender | {"locale": used})
        known = self._known(used, given, borrower_name, reference)
        found = []
        for expression in expressions:
            made = compile_part(expression, f"{self.id}/{used}", scope, is_mail=False)
            if not isinstance(made, CompiledPart):
                raise RenderFailed(translatable("{template}: a slot does not compile", template=self.id))
            found.append(made.render(known).strip())
        return found

    def _texts_in(self, known: Mapping[str, Any]) -> list[str]:
        """The values that others wrote: what looks like an address in them is no link of the lender's."""
        names = ["borrower.name", *(name for name, each in self.variables.items() if each.type == "text")]
        return [str(known[name]) for name in names if known.get(name)]

    def _known(self, locale: str, given: Mapping[str, Any], borrower_name: str, reference: str) -> dict[str, Any]:
        try:
            known = values(self.variables, given)
        except (ValueError, TypeError, ArithmeticError):
            raise RenderFailed(translatable("{template}: a variable has the wrong type", template=self.id)) from None
        known["borrower.name"], known["locale"], known[REFERENCE] = borrower_name, locale, reference
        known.update(self._lender)
        return known


class _Recent:
    """Limits the number of compiled messages of all versions: the ones compiled first are dropped first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._compiled: deque[tuple[weakref.ref[TemplateVersion], tuple[str, str, str]]] = deque()

    def add(self, version: TemplateVersion, message: tuple[str, str, str]) -> None:
        self._compiled.append((weakref.ref(version), message))
        while len(self._compiled) > self._most:
            of, oldest = self._compiled.popleft()
            if (gone := of()) is not None:
                gone.drop_compiled(oldest)


_recent = _Recent(_MOST_KEPT)


def _types(variables: Mapping[str, VariableSpec]) -> dict[str, str]:
    """The names that a text may use, with their types."""
    types = {name: each.type for name, each in variables.items()}
    types |= {"borrower.name": "text", "locale": "text", "lender.name": "text", "lender.phone": "text"}
    types |= {"lender.help_url": "url", REFERENCE: "text"}
    return types


def _alike(one: str, other: str) -> bool:
    return one.split("-")[0] == other.split("-")[0] and _script(one) == _script(other)


def _script(locale: str) -> str:
    """``zh-HK`` is written like ``zh-TW``, and unlike ``zh-CN``. Of two scripts only Chinese has texts here."""
    language, _, country = locale.partition("-")
    return ("Hant" if country in ("TW", "HK", "MO", "Hant") else "Hans") if language == "zh" else ""


def shared_texts(fragments: Mapping[str, str], locale: str) -> dict[str, dict[str, str]]:
    """The shared texts of a locale by jurisdiction: ``help.uk.liquid`` replaces ``help.liquid`` in the uk.

    A locale without any uses those of another locale of its language.
    """
    named = dict(_named(fragments, locale))
    language = [each for each in sorted({path.partition("/")[0] for path in fragments}) if _alike(each, locale)]
    for other in language if locale not in language else ():
        named = dict(_named(fragments, other)) | named
    plain = {name: text for name, text in named.items() if "." not in name}
    jurisdictions = sorted({name.partition(".")[2] for name in named if "." in name})
    own = {
        each: plain | {name.partition(".")[0]: text for name, text in named.items() if name.endswith(f".{each}")}
        for each in jurisdictions
    }
    return {"": plain, **own}


def _named(fragments: Mapping[str, str], locale: str) -> Iterator[tuple[str, str]]:
    for path, text in fragments.items():
        folder, _, file = path.partition("/")
        if folder == locale:
            yield file.removesuffix(".liquid"), text
