"""The RCS channel: what it declares of itself, and which providers there are.

Must not know how any provider talks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels import phone_numbers
from channels.base import Provider
from channels.options import build_provider
from channels.profile import PHONE_NUMBER, ChannelProfile, Frame, Part, Wording

PROVIDERS: Mapping[str, str] = {"twilio": "channels.rcs.twilio:RcsTwilioProvider"}

PROFILE = ChannelProfile(
    title=Wording("RCS", "RCS"),
    noun=Wording("the RCS message", "RCS 消息"),
    # 1,600 characters: the most that Twilio takes in a body.
    parts=(Part("rcs.liquid", "text", Wording("Text", "消息内容"), blank="{{ lender.name }}: \n", longest=1600),),
    frame=Frame.BUBBLE,
    identity=PHONE_NUMBER,
    lock_screen=True,
)


class RcsChannel:
    """Messages of a verified brand in the phone's own app. A number that has no RCS is for the route's next step."""

    name = "rcs"
    kinds: tuple[str, ...] = tuple(PROVIDERS)
    profile = PROFILE

    def normalise(self, address: str) -> str:
        """The number in E.164. Raises InvalidAddress; see ``channels.base.Channel``."""
        return phone_numbers.normalise(address)

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, PROVIDERS, kind, name, options, services)
