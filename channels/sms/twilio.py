"""SMS through Twilio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.options import ProviderOptions, service
from channels.twilio.messages import OPTIONS, TwilioMessages


class TwilioProvider(TwilioMessages):
    """Twilio's Messages API with phone numbers. Options: see ``TwilioMessages``."""

    channel = "sms"

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> TwilioProvider:
        """Build from settings. Needs the service ``clock``. Raises ValueError naming what is missing."""
        return cls(name, ProviderOptions(name, values, OPTIONS), service(name, services, "clock"))
