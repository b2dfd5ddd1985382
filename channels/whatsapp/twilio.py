"""WhatsApp through Twilio: the Messages API of SMS, with ``whatsapp:`` before the numbers and content templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from channels.base import CallbackRequest, Message, PermanentFailure, ProviderReason, Reply
from channels.options import Clock, ProviderOptions, service
from channels.sign_off import SIGN_OFF_OPTIONS, permitted_categories
from channels.twilio.messages import OPTIONS, TwilioMessages


class WhatsAppTwilioProvider(TwilioMessages):
    """Twilio's Messages API with WhatsApp senders.

    Options: those of ``TwilioMessages``; collections_approved_by and collections_approved_on (``channels.sign_off``).
    A template's reference is its content SID (``HX…``), its slots are the keys of the content variables.
    """

    channel = "whatsapp"
    prefix = "whatsapp:"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        super().__init__(name, options, clock)
        self.capability = replace(self.capability, categories=permitted_categories(name, options))

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> WhatsAppTwilioProvider:
        """Build from settings. Needs the service ``clock``. Raises ValueError naming what is missing."""
        return cls(name, ProviderOptions(name, values, OPTIONS | SIGN_OFF_OPTIONS), service(name, services, "clock"))

    def content(self, message: Message) -> dict[str, str]:
        """The call of a template; free text only while the person's own message permits it."""
        if call := message.content.template:
            variables = {"content_variables": json.dumps(dict(call.parameters))} if call.parameters else {}
            return {"content_sid": call.reference, **variables}
        if message.window_until is None or message.window_until <= self._clock():
            raise PermanentFailure(ProviderReason.WINDOW_CLOSED)
        return super().content(message)

    def read_replies(self, request: CallbackRequest) -> list[Reply]:
        """See ``channels.base.TakesReplies``. A person with a user name may be known by an id in place of a number."""
        return [
            each if each.address.startswith("+") else replace(each, identity="whatsapp_user")
            for each in super().read_replies(request)
        ]
