"""What the SMS of Alibaba Cloud and of Tencent Cloud have in common: a sign, templates alone, unsigned callbacks.

Owns the sign-off that collections need there, and the secret of the callbacks' URL. Must not know either of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from channels.base import (
    Advice,
    CallbackEvents,
    CallbackRequest,
    Capability,
    Message,
    PermanentFailure,
    ProviderReason,
    Receipt,
    SlotRules,
    TemplateCall,
    TransientFailure,
    UnknownOutcome,
)
from channels.json_api import JsonApi
from channels.options import Clock, ProviderOptions
from channels.outcomes import load_table
from channels.sign_off import SIGN_OFF_OPTIONS, permitted_categories

OPTIONS = SIGN_OFF_OPTIONS | {"sign_name", "callback_secret", "base_url", "timeout_seconds", "concurrency"}


class TemplatedCloud(ABC):
    """A subclass says where it is reached and which codes it has, and adds how it sends, asks and reports."""

    channel = "sms"
    base_url: ClassVar[str]
    codes: ClassVar[str]  # the file of its codes
    looks_up: ClassVar[bool] = False
    slots: ClassVar[SlotRules] = SlotRules()

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._sign_name = options.text("sign_name")
        self._callback_secret = options.text("callback_secret")
        concurrency = int(options.number("concurrency", 50, 1, 1000))
        self._timeout = options.number("timeout_seconds", 10, 0.1, 120)
        self._api = JsonApi(options.text("base_url", self.base_url), self._timeout, concurrency)
        self._table = load_table("channels.sms", self.codes)
        self.capability = Capability(
            categories=permitted_categories(name, options),
            looks_up=self.looks_up,
            templates_only=True,
            concurrency=concurrency,
            slots=self.slots,
        )

    def template_of(self, message: Message) -> TemplateCall:
        """The template to send a message by. Raises TransientFailure (too late), PermanentFailure (it has none)."""
        if message.valid_until is not None and message.valid_until <= self._clock():
            raise TransientFailure(ProviderReason.TOO_LATE)
        if message.content.template is None:
            raise PermanentFailure(ProviderReason.TEMPLATE_UNAVAILABLE)
        return message.content.template

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``."""
        try:
            return await self.advice()
        except UnknownOutcome as failure:
            raise TransientFailure(failure.reason, failure.code) from None

    @abstractmethod
    async def advice(self) -> Sequence[Advice]:
        """Make one harmless authenticated call. Raises SendFailure."""

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``."""
        return self.read_events(request).receipts

    def read_events(self, request: CallbackRequest) -> CallbackEvents:
        """See ``channels.base.ReadsEvents``. The URL to register has the secret; reports and replies may share it."""
        request.require_secret(self._callback_secret)
        return self.events(request.body)

    @abstractmethod
    def events(self, body: bytes) -> CallbackEvents:
        """What a callback says. Raises MalformedCallback."""

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
        await self._api.close()
