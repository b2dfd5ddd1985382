"""The WhatsApp channel: what it declares of itself, and which providers there are.

Must not know how any provider talks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from channels import phone_numbers
from channels.base import Provider
from channels.options import build_provider
from channels.profile import PHONE_NUMBER, ChannelProfile, Frame, Part, Wording

PROVIDERS: Mapping[str, str] = {
    "twilio": "channels.whatsapp.twilio:WhatsAppTwilioProvider",
    "cloud": "channels.whatsapp.cloud:CloudProvider",
}

PROFILE = ChannelProfile(
    title=Wording("WhatsApp", "WhatsApp"),
    noun=Wording("the WhatsApp message", "WhatsApp 消息"),
    parts=(
        # 1,024 characters: the most that Meta takes in the body of a template.
        Part("whatsapp.liquid", "text", Wording("Text", "消息内容"), blank="{{ lender.name }}: \n", longest=1024),
    ),
    frame=Frame.BUBBLE,
    identity=PHONE_NUMBER,
    lock_screen=True,
    # The customer service window: free text for 24 hours after the person's own message (Meta, and Twilio's 63016).
    service_window=timedelta(hours=24),
    # WhatsApp's business messaging policy: the opt-in names the business and this channel, whatever the message is for.
    consent_categories=frozenset({"service", "collections", "promotional"}),
)


class WhatsAppChannel:
    """Messages to the WhatsApp account of a phone number. An opt-out or a wrong number counts for SMS as well."""

    name = "whatsapp"
    kinds: tuple[str, ...] = tuple(PROVIDERS)
    profile = PROFILE

    def normalise(self, address: str) -> str:
        """The number in E.164. Raises InvalidAddress; see ``channels.base.Channel``."""
        return phone_numbers.normalise(address)

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, PROVIDERS, kind, name, options, services)
