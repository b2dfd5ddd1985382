"""RCS through Twilio: the Messages API of SMS, with ``rcs:`` before the numbers.

The prefix forces RCS. Without it, a messaging service would fall back to SMS in silence, and the route, the caps and
the price would be those of a channel that was not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.options import ProviderOptions, service
from channels.twilio.messages import OPTIONS, TwilioMessages


class RcsTwilioProvider(TwilioMessages):
    """Twilio's Messages API with an RCS sender. Options: see ``TwilioMessages``; from_number is the sender's id."""

    channel = "rcs"
    prefix = "rcs:"

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> RcsTwilioProvider:
        """Build from settings. Needs the service ``clock``. Raises ValueError naming what is missing."""
        return cls(name, ProviderOptions(name, values, OPTIONS), service(name, services, "clock"))
