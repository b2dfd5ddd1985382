"""What operators and reviewers send: decisions on reviews, controls, redrives."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from gateway.api.requests.fields import Channel, Flag, Identifier, Instant, RequestModel, Text, example, iso_duration
from gateway.core.controls import SwitchKind, SwitchScope

_LONGEST_SWITCH = timedelta(days=366)  # our choice


class ReviewIn(RequestModel):
    """Why a reviewer decided so; kept as evidence."""

    model_config = example(reason="The debt adviser agreed by telephone.")

    reason: Annotated[Text, Field(min_length=3, max_length=500)]


class RefusalIn(ReviewIn):
    """``borrower_id``: whom an unverified report is about; other reviews have a borrower, and take none."""

    model_config = example(reason="They asked on the telephone not to be contacted.")

    borrower_id: Identifier | None = None


class ControlIn(RequestModel):
    """What an operator stops or pins. ``value`` names the tenant, template, channel or provider; none for ``all``.

    It ends at ``until``, or when ``duration`` has passed, or when somebody ends it. It holds for the caller's
    tenant, or with ``everywhere`` for every tenant. That, and to name another tenant,
    takes the scope platform; to name the caller's own tenant takes the scope admin.
    """

    model_config = example(
        kind="pause", scope="channel", value="sms", reason="The provider has an incident.", duration="PT1H"
    )

    kind: SwitchKind = SwitchKind.PAUSE
    scope: SwitchScope
    value: Annotated[str, StringConstraints(max_length=64, pattern=r"^\P{C}*$")] = ""
    everywhere: Flag = False
    reason: Annotated[Text, Field(min_length=3, max_length=500)]
    until: Instant | None = None
    # The bounds are those of the duration: pydantic can't compare None with them.
    duration: Annotated[
        Annotated[timedelta, Field(gt=timedelta(0), le=_LONGEST_SWITCH)] | None, BeforeValidator(iso_duration)
    ] = None


class RedriveIn(RequestModel):
    """Which failed notifications are to be tried again: these ids, or all that the filters find."""

    model_config = example(channel="sms", reason="The provider is back.", dry_run=True)

    ids: Annotated[list[Identifier], Field(max_length=1000)] = []
    filter_reason: Annotated[str, StringConstraints(max_length=40, pattern="^[a-z_]*$")] = ""
    channel: Channel | None = None
    template: Annotated[str, StringConstraints(max_length=64)] = ""
    reason: Annotated[Text, Field(min_length=3, max_length=500)]
    dry_run: Flag = False


class GiveUpIn(RequestModel):
    """Which failed notifications are not to be tried again."""

    model_config = example(ids=["ntf_01999f4c3e3a7f0bb6d8a2c15e9b7d10"], reason="The borrower has moved abroad.")

    ids: Annotated[list[Identifier], Field(min_length=1, max_length=1000)]
    reason: Annotated[Text, Field(min_length=3, max_length=500)]
