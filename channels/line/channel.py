"""The two LINE channels: what they declare of themselves. They differ in whose addresses they use.

Must not know how LINE's API talks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from channels import phone_numbers
from channels.base import InvalidAddress, Provider
from channels.options import build_provider
from channels.profile import PHONE_NUMBER, ChannelProfile, Frame, Part, Wording

_USER_ID = re.compile(r"U[0-9a-f]{32}")  # Messaging API reference: source.userId
_LONGEST = 5000  # characters of a text message; Messaging API reference

PROVIDERS: Mapping[str, str] = {"messaging": "channels.line.messaging:PushProvider"}
NOTIFICATION_PROVIDERS: Mapping[str, str] = {"messaging": "channels.line.messaging:NotificationProvider"}


class LineChannel:
    """Push messages to a user who has added the official account. An opt-out holds on LINE alone."""

    name = "line"
    kinds: tuple[str, ...] = tuple(PROVIDERS)
    profile = ChannelProfile(
        title=Wording("LINE", "LINE"),
        noun=Wording("the LINE message", "LINE 消息"),
        parts=(
            Part("line.liquid", "text", Wording("Text", "消息内容"), blank="{{ lender.name }}: \n", longest=_LONGEST),
        ),
        frame=Frame.BUBBLE,
        lock_screen=True,
    )

    def normalise(self, address: str) -> str:
        """The user's id. Raises InvalidAddress; see ``channels.base.Channel``."""
        found = address.strip()
        if not _USER_ID.fullmatch(found):
            raise InvalidAddress("must be a LINE user id: U and 32 hexadecimal digits")
        return found

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, PROVIDERS, kind, name, options, services)


class LineNotificationChannel:
    """Notification messages: LINE's templates to a phone number, whether or not its user knows the official account."""

    name = "line_notification"
    kinds: tuple[str, ...] = tuple(NOTIFICATION_PROVIDERS)
    profile = ChannelProfile(
        title=Wording("LINE notification", "LINE 通知消息"),
        noun=Wording("the LINE notification message", "LINE 通知消息"),
        parts=(Part("line_notification.liquid", "text", Wording("Text", "消息内容"), blank="{{ lender.name }}: \n"),),
        frame=Frame.BUBBLE,
        identity=PHONE_NUMBER,
        names_sender=False,  # LINE's own header and footer do
        lock_screen=True,
        templates_only=True,
    )

    def normalise(self, address: str) -> str:
        """The number in E.164. Raises InvalidAddress; see ``channels.base.Channel``."""
        return phone_numbers.normalise(address)

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, NOTIFICATION_PROVIDERS, kind, name, options, services)
