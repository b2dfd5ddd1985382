"""Previews of a version on every channel, rendered by the function of the sending path.

A preview is byte for byte the message that would be sent, but for the links, which are each delivery's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from channels.content import Content
from gateway.core.errors import RenderFailed
from gateway.core.security.message_links import MessageLinks
from gateway.stages.send import WITHOUT_UNSUBSCRIBE
from gateway.templates.language.version import TemplateVersion
from gateway.templates.rendering.mail_clients import ClientNote, client_notes
from gateway.templates.rendering.reading import SentLink, Spoken, sent_amounts, sent_links, spoken
from gateway.templates.rendering.sms_segments import Segments, segments, split
from gateway.templates.translatable import joined

NAME = "Alexandra Example"  # of the borrower in samples; fictional
REFERENCE = "C-1001"  # of the case in samples; fictional
SAMPLE_LINKS = MessageLinks(  # lead nowhere
    "https://gateway.example.com/v1/unsubscribe/sample", "https://gateway.example.com/m/sample"
)


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one segment."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class ChannelPreview:
    """One channel's message. ``content`` None: it can't be rendered; ``error`` has the reason and the position.

    ``locale`` is the one used, after fallback. ``segments`` and ``cost`` are for segmented channels only;
    ``cost`` is None where no price is set, and ``parts`` is the text where its segments break. ``links`` and
    ``amounts`` are those that the message has. ``spoken`` (as a screen reader reads it) and ``clients`` (what mail
    programs leave out) are for HTML only.
    """

    channel: str
    locale: str
    content: Content | None
    error: str = ""
    segments: Segments | None = None
    cost: Price | None = None
    parts: tuple[str, ...] = ()
    links: tuple[SentLink, ...] = ()
    amounts: tuple[str, ...] = ()
    spoken: tuple[Spoken, ...] = ()
    clients: tuple[ClientNote, ...] = ()


def examples(version: TemplateVersion) -> dict[str, Any]:
    """The variables with the values of the template's examples."""
    return {name: each.value_of_example for name, each in version.variables.items()}


@dataclass(frozen=True, slots=True)
class Sample:
    """The borrower and the variables of a preview. ``jurisdiction`` "": that of the locale's country."""

    locale: str
    variables: Mapping[str, Any]
    name: str = NAME
    jurisdiction: str = ""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A caller's choice of a sample. None: the template's default locale, and the examples of its variables."""

    locale: str | None = None
    variables: Mapping[str, Any] | None = None
    name: str = NAME
    jurisdiction: str = ""

    def resolve(self, version: TemplateVersion) -> Sample:
        """The sample to render this version with."""
        variables = examples(version) if self.variables is None else self.variables
        return Sample(self.locale or version.default_locale, variables, self.name, self.jurisdiction)


def preview(
    version: TemplateVersion, sample: Sample, prices: Mapping[str, Price] | None = None
) -> list[ChannelPreview]:
    """Render every channel of the version. ``prices`` are by country ("tw"), "" for all others."""
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
    shown = ChannelPreview(
        channel,
        used,
        content,
        links=sent_links(content),
        amounts=sent_amounts(content, version.variables, sample.variables, used),
        spoken=spoken(content.html),
        clients=client_notes(content.html) if content.html else (),
    )
    if not version.profiles[channel].segmented:
        return shown
    counted = segments(content.text)
    return replace(shown, segments=counted, cost=_cost(counted, used, prices), parts=tuple(split(content.text)))


def rendered(version: TemplateVersion, channel: str, sample: Sample, links: MessageLinks = SAMPLE_LINKS) -> Content:
    """Render one message. Raises RenderFailed. A link that the category has not is left out."""
    links = replace(links, unsubscribe_url="") if version.category in WITHOUT_UNSUBSCRIBE else links
    return version.render(
        channel,
        sample.locale,
        sample.variables,
        sample.name,
        sample.jurisdiction,
        reference=REFERENCE,
        links=links,
    )


def _cost(counted: Segments, locale: str, prices: Mapping[str, Price]) -> Price | None:
    price = prices.get(locale.partition("-")[2].lower(), prices.get(""))
    return None if price is None else Price(price.amount * counted.segments, price.currency)


def all_previews(version: TemplateVersion, prices: Mapping[str, Price] | None = None) -> Sequence[ChannelPreview]:
    """Render every channel in every locale, with the template's examples."""
    given = examples(version)
    return [each for locale in version.locales for each in preview(version, Sample(locale, given), prices)]
