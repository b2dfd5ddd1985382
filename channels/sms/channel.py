"""The SMS channel: what it declares of itself, and which providers there are.

Must not know how any provider talks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels import phone_numbers
from channels.base import Provider
from channels.options import build_provider
from channels.profile import PHONE_NUMBER, ChannelProfile, Frame, Part, Wording

# The class of each kind of provider; a new provider is a file and a line here.
PROVIDERS: Mapping[str, str] = {
    "twilio": "channels.sms.twilio:TwilioProvider",
    "smpp": "channels.sms.smpp:SmppProvider",
    "aliyun": "channels.sms.aliyun:AliyunProvider",
    "tencent": "channels.sms.tencent:TencentProvider",
}

PROFILE = ChannelProfile(
    title=Wording("SMS", "短信"),
    noun=Wording("the SMS", "短信"),
    parts=(Part("sms.liquid", "text", Wording("Text", "短信内容"), blank="{{ lender.name }}: \n"),),
    frame=Frame.BUBBLE,
    identity=PHONE_NUMBER,
    lock_screen=True,
    segmented=True,
)


class SmsChannel:
    """Text messages to a phone number."""

    name = "sms"
    kinds: tuple[str, ...] = tuple(PROVIDERS)
    profile = PROFILE

    def normalise(self, address: str) -> str:
        """The number in E.164. Raises InvalidAddress; see ``channels.base.Channel``."""
        return phone_numbers.normalise(address)

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, PROVIDERS, kind, name, options, services)
