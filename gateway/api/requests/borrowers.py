"""What callers send of a borrower: holds, opt-outs, consents, suppressed addresses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.api.requests.fields import Address, Channel, Identifier, Instant, RequestModel, Text, example
from gateway.core.notifications import Category


class HoldIn(RequestModel):
    """No contact from ``start`` (now, where it is missing) to ``end`` (until lifted, where it is missing)."""

    model_config = example(reason="The borrower disputes the amount.")

    start: Instant | None = None
    end: Instant | None = None
    case_id: Identifier | None = None
    reason: Annotated[Text, Field(max_length=200)] = ""


class OptOutIn(RequestModel):
    """The borrower said no to an address, to a channel (no address), or to everything (no channel either).

    ``evidence`` says where the proof is kept, not what it says.
    """

    model_config = example(channel="sms", source="telephone", evidence="call 2026-11-24, file 77")

    channel: Channel | None = None
    address: Address | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^\P{C}+$")]
    evidence: Annotated[str, StringConstraints(max_length=200, pattern=r"^\P{C}*$")] = ""


class ConsentIn(RequestModel):
    """The borrower agreed to a category of messages. ``evidence`` says where the proof is kept, not what it says.

    ``channel``: they agreed to it by this channel, as channels such as WhatsApp want it; null: to the category.
    """

    model_config = example(category="collections", source="letter", evidence="archive, scan 77")

    category: Category
    channel: Channel | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^\P{C}+$")]
    evidence: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\P{C}+$")]


class SuppressionIn(RequestModel):
    """An address that must not be used for anybody (``reason``), or that may be used again (no reason)."""

    model_config = example(channel="email", address="b1001@example.com", reason="complaint")

    channel: Channel
    address: Address
    reason: Annotated[str, StringConstraints(max_length=40, pattern=r"^([a-z][a-z0-9_]*)?$")] = ""
