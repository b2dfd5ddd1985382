"""The WeChat channel: what it declares of itself, and which providers there are.

Must not know how any provider talks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from channels.base import InvalidAddress, Provider
from channels.options import build_provider
from channels.profile import ChannelProfile, Frame, Part, Wording

_OPENID = re.compile(r"o[A-Za-z0-9_-]{27}")  # a user's id at one service account

PROVIDERS: Mapping[str, str] = {"service_account": "channels.wechat.service_account:ServiceAccountProvider"}

PROFILE = ChannelProfile(
    title=Wording("WeChat", "微信"),
    noun=Wording("the WeChat message", "微信消息"),
    parts=(Part("wechat.liquid", "text", Wording("Text", "消息内容"), blank="{{ lender.name }}: \n"),),
    frame=Frame.BUBBLE,
    names_sender=False,  # the account's name stands above its messages
    lock_screen=True,
    templates_only=True,
)


class WeChatChannel:
    """Template messages to a follower of the service account. An opt-out holds on WeChat alone."""

    name = "wechat"
    kinds: tuple[str, ...] = tuple(PROVIDERS)
    profile = PROFILE

    def normalise(self, address: str) -> str:
        """The user's openid. Raises InvalidAddress; see ``channels.base.Channel``."""
        found = address.strip()
        if not _OPENID.fullmatch(found):
            raise InvalidAddress("must be an openid: o and 27 letters, digits, - or _")
        return found

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, PROVIDERS, kind, name, options, services)
