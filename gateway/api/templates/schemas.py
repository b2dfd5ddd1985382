"""What callers may send about templates: types, shapes and bounds. What a text may say is the lint's."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from channels.base import TemplateStatus
from gateway.api.requests.fields import Address, Channel, Flag, Instant, RequestModel, Text, Values
from gateway.templates.checks.glossary import GlossaryTerm
from gateway.templates.previews.preview import NAME, SampleRequest

TemplateId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
# The names and sizes are checked where they are known: gateway/templates/folder.py.
Files = Annotated[dict[Annotated[str, Field(max_length=120)], Text], Field(max_length=400)]
Locale = Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]*$")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500, pattern=r"^[^\x00]*$")]
Comment = Annotated[Text, Field(max_length=500)]


class BeginIn(RequestModel):
    """A new draft: of these files, or of what is live."""

    files: Files | None = None
    comment: Comment = ""


class NewTemplateIn(RequestModel):
    """A new template. ``purpose``: see ``GET /v1/templates/purposes``; its text is the beginning."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "purpose": "first-reminder",
                "title": "First reminder, card",
                "locales": ["en-US", "zh-TW"],
                "channels": ["sms", "email", "inapp"],
            }
        }
    )

    purpose: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    title: Annotated[Text, Field(min_length=1, max_length=80)]
    locales: Annotated[list[Locale], Field(min_length=1, max_length=30)]
    channels: Annotated[list[Channel], Field(min_length=1, max_length=30)]
    comment: Comment = ""


class SaveIn(RequestModel):
    """A draft's new text, whole."""

    files: Files
    comment: Comment = ""


class CommentIn(RequestModel):
    """What the person says to it; kept as evidence."""

    comment: Comment = ""


class CommentAtIn(RequestModel):
    """A comment on ``words`` of the message on a channel in a locale, as the diff shows it; "": on all of it."""

    channel: Channel
    locale: Locale
    words: Annotated[Text, Field(max_length=500)] = ""
    comment: Annotated[Text, Field(min_length=1, max_length=500)]


class ExplainIn(RequestModel):
    """Why a finding needs no change. ``finding``: its key, from ``GET …/findings``."""

    finding: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    comment: Reason


class ReasonIn(RequestModel):
    """Why it is done; kept as evidence."""

    comment: Reason


class PublishIn(RequestModel):
    """``at`` null: at once. ``confirm``: the consequences that the refusal named are wanted."""

    comment: Reason
    at: Instant | None = None
    confirm: Flag = False


class RollBackIn(RequestModel):
    """``to``: the number of an earlier version, 0 for that of the files; null: the one before."""

    comment: Reason
    to: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None


class SampleIn(RequestModel):
    """The sample borrower of a preview or a test; without variables, the template's own examples."""

    locale: Locale | None = None
    variables: Values | None = None
    name: Annotated[Text, Field(max_length=200)] = NAME
    jurisdiction: Annotated[str, StringConstraints(max_length=16, pattern=r"^([a-z]{2}[a-z_-]*)?$")] = ""

    def request(self) -> SampleRequest:
        return SampleRequest(self.locale, self.variables, self.name, self.jurisdiction)


class TextIn(RequestModel):
    """A text to be looked at: these files, saved nowhere, or those of a version (0: that of the files; null: live)."""

    files: Files | None = None
    number: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None


class PreviewIn(TextIn):
    sample: SampleIn = SampleIn()


class TestSendIn(RequestModel):
    """A test message; ``address`` is one of those that GATEWAY_TEST_ADDRESSES names for the tenant."""

    channel: Channel
    address: Address
    sample: SampleIn = SampleIn()


class SlotIn(RequestModel):
    """``expression`` is in the template language. ``longest``: characters; 0: no limit but the provider's."""

    name: Annotated[str, StringConstraints(max_length=64, pattern=r"^\w+$")]
    expression: Annotated[Text, Field(min_length=1, max_length=1000)]
    longest: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 0


class EnterProviderTemplateIn(RequestModel):
    """What the provider holds. Without ``text`` and ``slots``, they come from our text. ``language`` "": the locale."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "reference": "payment_due",
                "language": "en",
                "text": "Example Bank: please pay {{amount}} now.",
                "slots": [{"name": "amount", "expression": "{{ amount | money: currency }}", "longest": 20}],
                "ttl_seconds": 3600,
            }
        }
    )

    reference: Annotated[Text, Field(min_length=1, max_length=128)]
    language: Annotated[Text, Field(max_length=32)] = ""
    text: Annotated[Text, Field(min_length=1, max_length=4096)] | None = None
    slots: Annotated[list[SlotIn], Field(max_length=50)] | None = None
    # From 30 seconds to 30 days, as WhatsApp has it.
    ttl_seconds: Annotated[int, Field(strict=True, ge=30, le=2_592_000)] | None = None


class ReportProviderTemplateIn(RequestModel):
    """``reason`` is the provider's own word."""

    status: TemplateStatus
    reason: Annotated[Text, Field(max_length=120)] = ""


class GlossaryTermIn(RequestModel):
    """A term's words by locale ("zh-TW") or language ("en"), and those to avoid."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    words: Annotated[dict[Locale, Word], Field(min_length=1, max_length=30)]
    avoid: Annotated[dict[Locale, Annotated[list[Word], Field(max_length=20)]], Field(max_length=30)] = Field(
        default_factory=dict
    )


_TERM = {"id": "plan", "words": {"en": "payment plan"}, "avoid": {"en": ["instalment agreement"]}}


class GlossaryIn(RequestModel):
    """The whole glossary; ``revision`` is that of the one it is based on, 0 for the first."""

    revision: Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
    terms: Annotated[list[GlossaryTermIn], Field(max_length=200, examples=[[_TERM]])]

    def entries(self) -> list[GlossaryTerm]:
        return [GlossaryTerm(each.id, each.words, each.avoid) for each in self.terms]


class ImportIn(RequestModel):
    """Templates by id, each with all its files. ``publish``: live at once, reviewed elsewhere; the key needs admin."""

    templates: Annotated[dict[TemplateId, Files], Field(min_length=1, max_length=200)]
    comment: Reason
    publish: Flag = False
    confirm: Flag = False
