"""What a channel declares of itself: its texts, its words for people, and how its addresses identify a person.

The templates, the lint, the editor's page and the ledger's address records read this; no file outside a channel's
package names a channel. Must not know any channel.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from channels.content import Content

# The identity of telephone numbers. It has the name of the channel that used them first, because the ledger's digests
# of numbers are keyed by it: another name would lose every opt-out on record.
PHONE_NUMBER = "sms"


class PartKind(StrEnum):
    """The language in which a part is written."""

    PLAIN = "plain"
    MJML = "mjml"  # rendered to HTML
    MARKDOWN = "markdown"  # from which the HTML and the plain text are made


class Frame(StrEnum):
    """How the editor's page shows a message."""

    BUBBLE = "bubble"  # a message on a phone
    MAIL = "mail"  # a line of an inbox, and the HTML
    CARD = "card"  # a card in an app: title and text
    PAGE = "page"  # a sheet of paper: subject and text


@dataclass(frozen=True, slots=True)
class Wording:
    """What people read, in the languages of the pages."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a template.

    ``file`` is its name in a locale's folder (``sms.liquid``), unique among all channels; ``field`` the field of
    ``Content`` that it fills, or in the written form what it is otherwise: ``preview`` (the line beside the subject) or
    ``message``. ``blank`` is the text of a new template. ``longest``: more characters are a warning of the lint; 0: no
    limit. ``public``: bystanders can read it (a subject in an inbox, a title on a lock screen), so personal data in it
    is an error. ``label``: its heading in the editor.
    """

    file: str
    field: str
    label: Wording
    kind: PartKind = PartKind.PLAIN
    blank: str = "\n"
    longest: int = 0
    public: bool = False


@dataclass(frozen=True, slots=True)
class TextIssue:
    """What a channel's own check finds in a rendered message. ``level``: error, warning or hint."""

    level: str
    rule: str
    detail: Wording
    remedy: Wording


def no_issues(content: Content) -> Sequence[TextIssue]:
    """The check of a channel that has no rules of its own."""
    return ()


@dataclass(frozen=True, slots=True)
class ChannelProfile:
    """A channel's declaration.

    ``title`` is a heading ("SMS"), ``noun`` stands in a sentence ("the SMS").
    ``identity``: whose addresses these are; "" for the channel's own. Channels of one identity address the same person
    by the same address, so an opt-out, a suppression and a cap by address hold on all of them (``PHONE_NUMBER``).
    ``addresses_borrower``: the address is the borrower's id in the lender's systems.
    ``names_sender``: the text has to name the lender. ``lock_screen``: the text can be read on a locked screen.
    ``segmented``: sent and charged in segments of GSM-7 or UCS-2 (3GPP TS 23.038).
    ``unsubscribe_link``: texts may show the link for declining further messages (``unsubscribe_url``).
    ``service_window``: how long after a person's own message free text may be sent; None: always. Outside of it, or
    where ``templates_only``, a provider template is needed (``channels.base.Content.template``).
    ``consent_categories``: categories that need the borrower's recorded consent to this channel.
    ``check`` is the channel's own lint of a rendered message.
    ``written`` are the parts of its other form, in which people write: one text in Markdown, and what stands beside it.
    A locale with that text has this form, and its fields ``text`` and ``html`` are made from it; ``parts`` is the
    source form, for who lays messages out themselves.
    """

    title: Wording
    noun: Wording
    parts: tuple[Part, ...]
    frame: Frame
    identity: str = ""
    addresses_borrower: bool = False
    names_sender: bool = True
    lock_screen: bool = False
    segmented: bool = False
    unsubscribe_link: bool = False
    service_window: timedelta | None = None
    templates_only: bool = False
    consent_categories: frozenset[str] = frozenset()
    check: Callable[[Content], Sequence[TextIssue]] = no_issues
    written: tuple[Part, ...] = ()

    def part(self, field: str) -> Part | None:
        """The part that fills ``field``; None where messages have none."""
        return next((each for each in (*self.parts, *self.written) if each.field == field), None)

    @property
    def markdown(self) -> Part | None:
        """The text of the written form; None where the channel has no such form."""
        return next((each for each in self.written if each.kind is PartKind.MARKDOWN), None)

    def form(self, files: Container[str], folder: str = "") -> tuple[Part, ...]:
        """The parts of the form that a message has, by its files in ``folder`` ("en-US/")."""
        markdown = self.markdown
        return self.written if markdown and f"{folder}{markdown.file}" in files else self.parts

    @property
    def files(self) -> tuple[str, ...]:
        """The files of both forms."""
        return tuple(dict.fromkeys(each.file for each in (*self.parts, *self.written)))

    @property
    def marked_field(self) -> str:
        """Where a mark such as "[TEST]" is seen first."""
        return "subject" if self.part("subject") else "text"


Profiles = Mapping[str, ChannelProfile]  # by the channel's name


def identity(profiles: Profiles, channel: str) -> str:
    """The identity of a channel's addresses. A channel that is not installed any more keeps its own name."""
    profile = profiles.get(channel)
    return profile.identity or channel if profile else channel
