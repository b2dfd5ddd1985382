"""What a borrower would get of one version, on every channel at once, by the one render function.

Owns nothing of the words: what stands here is what is sent, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from channels.base import Content
from gateway.core.errors import RenderFailed
from gateway.templates.language.version import TemplateVersion
from gateway.templates.rendering.sms_segments import Segments, segments
from gateway.templates.translatable import joined

NAME = "Alexandra Example"  # of the borrower in samples; nobody's


@dataclass(frozen=True, slots=True)
class Price:
    """What one SMS segment costs."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class ChannelPreview:
    """One channel's message. ``content`` None: it can't be rendered, and ``error`` says why and where.

    ``locale`` is the one used, which may be another than the one asked for. ``segments`` and ``cost`` are of SMS only;
    ``cost`` is None where no price is set.
    """

    channel: str
    locale: str
    content: Content | None
    error: str = ""
    segments: Segments | None = None
    cost: Price | None = None


def examples(version: TemplateVersion) -> dict[str, Any]:
    """The variables as the template's own examples have them."""
    return {name: each.value_of_example for name, each in version.variables.items()}


@dataclass(frozen=True, slots=True)
class Sample:
    """Whom a preview is rendered for. ``jurisdiction`` "": that of the locale's country."""

    locale: str
    variables: Mapping[str, Any]
    name: str = NAME
    jurisdiction: str = ""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A sample as a caller asks for it. None: the template's default locale, and the examples of its variables."""

    locale: str | None = None
    variables: Mapping[str, Any] | None = None
    name: str = NAME
    jurisdiction: str = ""

    def resolve(self, version: TemplateVersion) -> Sample:
        """The sample for this version."""
        variables = examples(version) if self.variables is None else self.variables
        return Sample(self.locale or version.default_locale, variables, self.name, self.jurisdiction)


def preview(
    version: TemplateVersion, sample: Sample, prices: Mapping[str, Price] | None = None
) -> list[ChannelPreview]:
    """Every channel of the version. ``prices`` of a segment are by country ("tw"); "" for all others."""
    return [_shown(version, channel, sample, prices or {}) for channel in version.channels]


def _shown(version: TemplateVersion, channel: str, sample: Sample, prices: Mapping[str, Price]) -> ChannelPreview:
    used = version.locale_for(sample.locale, channel)
    problems = version.check(sample.variables)
    if problems:
        return ChannelPreview(channel, used, None, joined(each.sentence for each in problems))
    try:
        content = rendered(version, channel, sample)
    except RenderFailed as error:
        return ChannelPreview(channel, used, None, error.args[0])
    if channel != "sms":
        return ChannelPreview(channel, used, content)
    counted = segments(content.text)
    return ChannelPreview(channel, used, content, segments=counted, cost=_cost(counted, used, prices))


def rendered(version: TemplateVersion, channel: str, sample: Sample) -> Content:
    """The message by the one render function. Raises RenderFailed."""
    return version.render(channel, sample.locale, sample.variables, sample.name, sample.jurisdiction)


def _cost(counted: Segments, locale: str, prices: Mapping[str, Price]) -> Price | None:
    price = prices.get(locale.partition("-")[2].lower(), prices.get(""))
    return None if price is None else Price(price.amount * counted.segments, price.currency)


def all_previews(version: TemplateVersion, prices: Mapping[str, Price] | None = None) -> Sequence[ChannelPreview]:
    """Every channel in every locale, with the template's own examples."""
    given = examples(version)
    return [each for locale in version.locales for each in preview(version, Sample(locale, given), prices)]
