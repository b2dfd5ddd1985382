"""What the editor's fields show in place of Liquid: each variable with its formats, each shared text with its words.

The values are those of a sample, in the locale of the text. The browser finds the tags (``assets/chip_model.js``); the
stored text stays Liquid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from gateway.core.errors import RenderFailed
from gateway.templates.language import formats
from gateway.templates.language.variables import VariableSpec, values
from gateway.templates.language.version import (
    PAGE_URL,
    REFERENCE,
    UNSUBSCRIBE_URL,
    TemplateVersion,
    jurisdiction_of,
    shared_texts,
)
from gateway.templates.previews.preview import REFERENCE as SAMPLE_REFERENCE
from gateway.templates.previews.preview import SAMPLE_LINKS, Sample
from gateway.web.translations import PageTexts

_LONGEST_VALUE = 60  # characters of a sample value; our choice: a link's beginning
_DEEPEST = 4  # shared texts within others, as the compiler takes them
_UNSEEN = re.compile(
    r"\{% comment %\}.*?\{% endcomment %\}|\{% else %\}.*?\{% end(?:if|unless) %\}|<mj-style>.*?</mj-style>|<[^>]*>",
    re.DOTALL,
)
_RENDER = re.compile(r"\{%\s*render\s+['\"]([a-z0-9-]+)['\"]\s*%\}")
_OUTPUT = re.compile(r"\{\{(.*?)\}\}")
_TAG = re.compile(r"\{%.*?%\}")
_PUNCTUATION = re.compile(r"\s*([|:,])\s*")
# What every text may say beside its own variables, with the key of its description.
_BUILT_IN: Mapping[str, str] = {
    "borrower.name": "borrower_name",
    "lender.name": "lender_name",
    "lender.phone": "lender_phone",
    "lender.help_url": "lender_help",
    REFERENCE: "case_reference",
    PAGE_URL: "page_link",
    UNSUBSCRIBE_URL: "unsubscribe_link",
}


@dataclass(frozen=True, slots=True)
class FormatChoice:
    """A way to write a variable. ``source``: its expression in Liquid. ``shows``: the sample's value in it."""

    source: str
    shows: str


@dataclass(frozen=True, slots=True)
class VariableChip:
    """A variable as writers see it. ``given``: what a condition says of it, like "a payment link"."""

    name: str
    label: str
    what: str
    given: str
    optional: bool
    formats: Sequence[FormatChoice]

    @property
    def written(self) -> str:
        """The output tag that is inserted: that of the first format."""
        return f"{{{{ {self.formats[0].source} }}}}"


@dataclass(frozen=True, slots=True)
class SharedChip:
    """A shared text. ``says``: its words for the sample."""

    name: str
    says: str

    @property
    def written(self) -> str:
        return f"{{% render '{self.name}' %}}"

    @property
    def for_source(self) -> bool:
        """Written in MJML, so for a mail's source only."""
        return self.name.endswith("-mail")


@dataclass(frozen=True, slots=True)
class LocaleChips:
    """Everything that the fields of a locale can show as chips."""

    variables: Sequence[VariableChip] = ()
    shared: Sequence[SharedChip] = ()

    def dump(self) -> dict[str, Any]:
        """For the page's script: by name."""
        return {
            "variables": {each.name: {**asdict(each), "written": each.written} for each in self.variables},
            "shared": {
                each.name: {**asdict(each), "written": each.written, "for_source": each.for_source}
                for each in self.shared
            },
        }


def chip_words(texts: PageTexts) -> Mapping[str, str]:
    """The patterns that the page's script fills."""
    own = {key.removeprefix("chip_"): text for key, text in texts.texts.items() if key.startswith("chip_")}
    return {**own, "only_if": texts("only_if"), "only_unless": texts("only_unless")}


def locale_chips(version: TemplateVersion, locale: str, sample: Sample, texts: PageTexts) -> LocaleChips:
    """The chips of a locale."""
    given = _sample_values(version, sample)
    variables = [
        *_declared(version.variables, given, locale, texts),
        *(_chip(name, texts(key), _built_in(name, locale, version, sample), texts) for name, key in _BUILT_IN.items()),
    ]
    shown = {_canonical(each.source): each.shows for chip in variables for each in chip.formats}
    return LocaleChips(variables, _shared(version.source.fragments, locale, {**shown, "locale": locale}))


def _sample_values(version: TemplateVersion, sample: Sample) -> Mapping[str, Any]:
    try:
        return values(version.variables, sample.variables)
    except (ValueError, TypeError, ArithmeticError):
        return {}


def _declared(
    specs: Mapping[str, VariableSpec], given: Mapping[str, Any], locale: str, texts: PageTexts
) -> Iterator[VariableChip]:
    currencies = [name for name, each in specs.items() if each.type == "currency"]
    for spec in specs.values():
        value = given.get(spec.name)
        found = [
            FormatChoice(source, shows if value is not None else spec.example)
            for source, shows in _formats(spec, value, given, currencies, locale)
        ]
        if found:  # an amount without a currency can't be written
            yield _chip(spec.name, spec.description, found, texts, optional=not spec.required)


def _chip(
    name: str, what: str, found: Sequence[FormatChoice], texts: PageTexts, *, optional: bool = False
) -> VariableChip:
    key = name.replace(".", "_")
    label = texts.maybe(f"called_{key}", name.replace("_", " "))
    given = texts.maybe(f"given_{key}", texts("given_other", name=label))
    return VariableChip(name, label, what, given, optional or name in (PAGE_URL, UNSUBSCRIBE_URL), found)


def _formats(
    spec: VariableSpec, value: Any, given: Mapping[str, Any], currencies: Sequence[str], locale: str
) -> Iterator[tuple[str, str]]:
    """The expressions in which a variable can be written, with what each shows."""
    name = spec.name
    match spec.type:
        case "money":
            for each, style in product(currencies, formats.MONEY_STYLES):
                source = f"{name} | money: {each}" + (f", '{style}'" if style != "exact" else "")
                code = str(given.get(each) or "")
                yield source, formats.money(value, code, locale, style) if value is not None else ""
            yield f"{name} | number", formats.number(value, locale) if value is not None else ""
        case "date":
            for style in ("long", "day", "medium", "full", "short"):
                source = f"{name} | date" if style == "long" else f"{name} | date: '{style}'"
                yield source, formats.day(value, style, locale) if value is not None else ""
        case "integer":
            yield f"{name} | number", formats.number(value, locale) if value is not None else ""
            if locale.partition("-")[0] == "en":
                yield f"{name} | plural: 'day', 'days'", "day / days"
        case _:
            yield name, _shortened(str(value or ""))


def _built_in(name: str, locale: str, version: TemplateVersion, sample: Sample) -> Sequence[FormatChoice]:
    links = {PAGE_URL: SAMPLE_LINKS.page_url, UNSUBSCRIBE_URL: SAMPLE_LINKS.unsubscribe_url}
    if name in links:
        return [FormatChoice(name, _shortened(links[name]))]
    try:
        channel = next(iter(version.channels), "")
        [shows] = version.evaluate(
            channel, locale, sample.variables, sample.name, [f"{{{{ {name} }}}}"], reference=SAMPLE_REFERENCE
        )
    except RenderFailed:
        shows = ""
    return [FormatChoice(name, _shortened(shows))]


def _shared(fragments: Mapping[str, str], locale: str, shown: Mapping[str, str]) -> list[SharedChip]:
    by_jurisdiction = shared_texts(fragments, locale)
    country = jurisdiction_of(locale.partition("-")[2])
    texts = by_jurisdiction.get(country, by_jurisdiction[""])
    # Those of the mail's layout are no words of a message.
    return [SharedChip(name, _says(text, texts, shown)) for name, text in sorted(texts.items()) if name[:5] != "mail-"]


def _says(text: str, others: Mapping[str, str], shown: Mapping[str, str], depth: int = 0) -> str:
    """The words of a shared text, with the sample's values, as where every condition holds."""
    bare = _UNSEEN.sub(" ", text)
    if depth < _DEEPEST:
        bare = _RENDER.sub(lambda found: _says(others.get(found[1], ""), others, shown, depth + 1), bare)
    bare = _OUTPUT.sub(lambda found: shown.get(_canonical(found[1]), ""), bare)
    return " ".join(_TAG.sub(" ", bare).split())


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[: _LONGEST_VALUE - 1]}…"


def _canonical(expression: str) -> str:
    return _PUNCTUATION.sub(r"\1", expression.strip())
