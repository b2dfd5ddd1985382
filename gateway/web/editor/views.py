"""View models of the editor's page: texts by locale and channel, samples, preview and findings of a version.

Converts the workflow's results for the templates in ``pages/``. Must not know HTTP or permissions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape

from channels.profile import ChannelProfile, Frame, Profiles
from gateway.templates.checks.lint import LintFinding
from gateway.templates.checks.word_lists import LEVELS
from gateway.templates.language.source import SETTINGS
from gateway.templates.language.variables import VariableSpec
from gateway.templates.previews.preview import ChannelPreview
from gateway.templates.rendering.sms_segments import REPLACEMENTS
from gateway.templates.translatable import Translatable, worded
from gateway.templates.workflow.reviews import finding_key
from gateway.templates.workflow.translations import default_locale_of
from gateway.templates.workflow.workflow import DraftPreview
from gateway.web.form_texts import digest

VALUE = "v."  # prefix of the fields with sample values

_PREVIEW_LINE = 110  # characters; our choice: what wide inboxes show
# A pattern, since the settings may be invalid TOML during editing.
_TITLE = re.compile(r"^title\s*=\s*[\"'](.+)[\"']\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PartText:
    """An editable text, with the ``findings`` in it."""

    name: str  # "en-US/sms.liquid"
    file: str  # "sms.liquid"
    text: str  # without the last line end of the file
    label: str  # its heading; translatable
    findings: Sequence[LintFinding] = ()

    @property
    def seen(self) -> str:
        return digest(self.text)


@dataclass(frozen=True, slots=True)
class ChannelTexts:
    """A channel's texts in one locale."""

    name: str
    parts: Sequence[PartText]
    form: str = ""  # "written" or "source", where the channel has both

    @property
    def is_blank(self) -> bool:
        """Nothing is written for this channel."""
        return not any(each.text.strip() or each.findings for each in self.parts)


@dataclass(frozen=True, slots=True)
class Tab:
    """A locale's tab. ``errors``: the number of its errors."""

    locale: str
    channels: Sequence[ChannelTexts]
    errors: int


@dataclass(frozen=True, slots=True)
class NonGsmCharacter:
    """A character that forces UCS-2. ``instead``: its replacement. ``here``: it is in the editor's text."""

    character: str
    name: str
    instead: str
    here: bool


@dataclass(frozen=True, slots=True)
class SegmentedPreview:
    """A message with its segments."""

    texts: Sequence[str]
    encoding: str
    units: int
    letters: Sequence[NonGsmCharacter]
    cost: str


@dataclass(frozen=True, slots=True)
class EditorView:
    """Everything that the page shows of a version in one locale."""

    locale: str
    tabs: Sequence[Tab]
    settings: PartText
    general: Sequence[LintFinding]  # findings outside of the editable texts
    shown: Mapping[str, ChannelPreview]
    frames: Mapping[str, Frame]  # of every channel, how it is shown
    bubbles: Mapping[str, SegmentedPreview]  # of segmented channels
    preview_lines: Mapping[str, str]  # of channels with HTML
    specs: Sequence[VariableSpec]
    values: Mapping[str, str]
    name: str
    kinds: Sequence[str] = ()
    finding_keys: Mapping[LintFinding, str] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        found = [*self.general, *self.settings.findings, *_every(self.tabs)]
        return sum(each.level == "error" for each in found)


def editor_view(
    files: Mapping[str, str], drafted: DraftPreview, locale: str, kinds: Sequence[str], profiles: Profiles
) -> EditorView:
    """Everything for ``pages/version.html``."""
    version, sample = drafted.version, drafted.sample
    by_place: dict[str, list[LintFinding]] = {}
    for each in sorted(drafted.findings, key=lambda one: (LEVELS.index(one.level), one.line)):
        by_place.setdefault(_place(each), []).append(each)
    tabs = [_tab(files, each, by_place, profiles) for each in locales_of(files)]
    settings = PartText(SETTINGS, SETTINGS, _shown_text(files, SETTINGS), SETTINGS, by_place.pop(SETTINGS, []))
    for part in _parts_of(tabs):
        by_place.pop(part.name, None)
    shown = _own(drafted, locale, profiles)
    return EditorView(
        locale=locale,
        tabs=tabs,
        settings=settings,
        general=[each for some in by_place.values() for each in some],
        shown=shown,
        frames={name: profile.frame for name, profile in profiles.items()},
        bubbles=_all_bubbles(files, shown, locale, profiles),
        preview_lines={name: _preview_line(each) for name, each in shown.items() if profiles[name].part("html")},
        specs=list(version.variables.values()) if version else [],
        values={each: "" if value is None else str(value) for each, value in sample.variables.items()}
        if sample
        else {},
        name=sample.name if sample else "",
        kinds=kinds,
        finding_keys={each: finding_key(each, files) for each in drafted.findings},
    )


def part_labels(profiles: Profiles) -> dict[str, Translatable]:
    """The heading of each part's file."""
    return {
        part.file: worded(part.label) for profile in profiles.values() for part in (*profile.parts, *profile.written)
    }


def title_of(files: Mapping[str, str]) -> str:
    """A template's title; "" while its settings can't be parsed."""
    found = _TITLE.search(files.get(SETTINGS, ""))
    return found[1] if found else ""


def alone(files: Mapping[str, str], locale: str) -> dict[str, str]:
    """A template's files with the texts of one locale and of the required default locale."""
    kept = {locale, *locales_of(files)[:1]}
    return {name: text for name, text in files.items() if "/" not in name or name.partition("/")[0] in kept}


def locales_of(files: Mapping[str, str]) -> list[str]:
    """The locales of a template's texts, the default one first."""
    found = {name.partition("/")[0] for name in files if "/" in name and not name.startswith("examples/")}
    default = default_locale_of(files)
    return sorted(found, key=lambda each: (each != default, each))


def _shown_text(files: Mapping[str, str], name: str) -> str:
    return files.get(name, "").removesuffix("\n")


def _tab(
    files: Mapping[str, str], locale: str, by_place: Mapping[str, Sequence[LintFinding]], profiles: Profiles
) -> Tab:
    channels = {
        channel: [part.file for part in profile.form(files, f"{locale}/")] for channel, profile in profiles.items()
    }
    labels = part_labels(profiles)
    for name in files:  # a part without a channel is shown, so that it can be emptied
        place, _, file = name.partition("/")
        if place == locale and not any(file in parts for parts in channels.values()):
            channels.setdefault("other", []).append(file)
    found = []
    for channel, names in channels.items():
        texts = [(f"{locale}/{file}", file, labels.get(file, file)) for file in names]
        parts = [
            PartText(name, file, _shown_text(files, name), label, by_place.get(name, ())) for name, file, label in texts
        ]
        found.append(ChannelTexts(channel, parts, _form_of(files, locale, profiles.get(channel))))
    errors = sum(
        each.level == "error" for name, some in by_place.items() if name.partition("/")[0] == locale for each in some
    )
    return Tab(locale, found, errors)


def _form_of(files: Mapping[str, str], locale: str, profile: ChannelProfile | None) -> str:
    if profile is None or profile.markdown is None:
        return ""
    return "written" if profile.form(files, f"{locale}/") is profile.written else "source"


def _own(drafted: DraftPreview, locale: str, profiles: Profiles) -> dict[str, ChannelPreview]:
    """The previews by channel. A text of this locale that does not compile is shown as its error, without fallback."""
    found = {each.channel: each for each in drafted.shown}
    for channel, profile in profiles.items():
        names = {f"{locale}/{file}" for file in profile.files}
        broken = [each for each in drafted.findings if each.rule == "does_not_compile" and _place(each) in names]
        if broken and (channel not in found or found[channel].locale != locale):
            found[channel] = ChannelPreview(channel, locale, None, broken[0].detail)
    return found


def _place(finding: LintFinding) -> str:
    """The file that a finding is in: ``en-US/sms.liquid``."""
    return finding.where.partition("/")[2]


def _all_bubbles(
    files: Mapping[str, str], shown: Mapping[str, ChannelPreview], locale: str, profiles: Profiles
) -> dict[str, SegmentedPreview]:
    found = {}
    for name, each in shown.items():
        source = "".join(files.get(f"{locale}/{file}", "") for file in profiles[name].files)
        if (made := _bubbles(each, source)) is not None:
            found[name] = made
    return found


def _bubbles(shown: ChannelPreview, source: str) -> SegmentedPreview | None:
    if shown.content is None or shown.segments is None:
        return None
    counted, cost = shown.segments, shown.cost
    letters = [
        NonGsmCharacter(each, _called(each), instead or REPLACEMENTS.get(each, ""), each in source)
        for each, instead in counted.forcing
    ]
    price = f"{cost.amount.normalize():f} {cost.currency}" if cost else ""
    return SegmentedPreview(shown.parts, counted.encoding, counted.units, letters, price)


def _preview_line(shown: ChannelPreview) -> str:
    """The preview line of an inbox: the beginning of the HTML's text, hidden or not."""
    if shown.content is None:
        return ""
    bare = re.sub(r"<(head|style|title)\b.*?</\1>|<!--.*?-->|<[^>]*>", " ", shown.content.html, flags=re.DOTALL | re.I)
    return " ".join(unescape(bare).split())[:_PREVIEW_LINE]


def _called(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '').lower()}".strip()


def _parts_of(tabs: Sequence[Tab]) -> list[PartText]:
    return [part for tab in tabs for channel in tab.channels for part in channel.parts]


def _every(tabs: Sequence[Tab]) -> list[LintFinding]:
    return [finding for part in _parts_of(tabs) for finding in part.findings]
