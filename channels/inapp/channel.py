"""The in-app channel: its address is the borrower's id in the lender's app.

Must not know how the feed is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.base import InvalidAddress, Provider
from channels.options import build_provider
from channels.profile import ChannelProfile, Frame, Part, Wording

# The class of each kind of provider; a new provider is a file and a line here.
PROVIDERS: Mapping[str, str] = {"feed": "channels.inapp.feed:FeedProvider"}

_LONGEST = 128  # characters; our choice, the same as for borrower ids elsewhere


_LONGEST_TITLE = 78  # characters; our choice, as an e-mail's subject

PROFILE = ChannelProfile(
    title=Wording("In-app", "应用内消息"),
    noun=Wording("the in-app message", "应用内消息"),
    parts=(
        Part(
            "inapp.title.liquid",
            "subject",
            Wording("Title", "标题"),
            blank="{{ lender.name }}\n",
            longest=_LONGEST_TITLE,
            public=True,
        ),
        Part("inapp.txt.liquid", "text", Wording("Message", "消息")),
    ),
    frame=Frame.CARD,
    addresses_borrower=True,
    names_sender=False,  # the app does
)


class InappChannel:
    """Messages in the lender's own app."""

    name = "inapp"
    kinds: tuple[str, ...] = tuple(PROVIDERS)
    profile = PROFILE

    def normalise(self, address: str) -> str:
        """The id without surrounding blanks. Raises InvalidAddress."""
        address = address.strip()
        if not address:
            raise InvalidAddress("is empty")
        if len(address) > _LONGEST:
            raise InvalidAddress(f"is longer than {_LONGEST} characters")
        if not address.isprintable():
            raise InvalidAddress("has characters that cannot be printed")
        return address

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, PROVIDERS, kind, name, options, services)
