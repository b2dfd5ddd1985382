"""What callers may send about templates: types, shapes and bounds. What a text may say is the lint's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.api.schemas import Address, Channel, Flag, Instant, RequestModel, Text, Values
from gateway.templates.workflow.preview import NAME, SampleRequest

TemplateId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
# The names and sizes are checked where they are known: gateway/templates/folder.py.
Files = Annotated[dict[Annotated[str, Field(max_length=120)], Text], Field(max_length=400)]
Locale = Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500, pattern=r"^[^\x00]*$")]
Comment = Annotated[Text, Field(max_length=500)]


class BeginIn(RequestModel):
    """A new draft: of these files, or of what is live."""

    files: Files | None = None
    comment: Comment = ""


class SaveIn(RequestModel):
    """A draft's new text, whole."""

    files: Files
    comment: Comment = ""


class CommentIn(RequestModel):
    """What the person says to it; kept as evidence."""

    comment: Comment = ""


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


class ImportIn(RequestModel):
    """Templates by id, each with all its files. ``publish``: live at once, reviewed elsewhere; the key needs admin."""

    templates: Annotated[dict[TemplateId, Files], Field(min_length=1, max_length=200)]
    comment: Reason
    publish: Flag = False
    confirm: Flag = False
