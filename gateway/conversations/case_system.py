"""Asks the tenant's case system what a borrower owes and by when, at the moment of showing it; nothing is kept.

The contract is ops/case-system.md: a POST, signed as webhooks are (Standard Webhooks), answered with JSON in time. No
answer is no failure of ours: a person answers the borrower then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

import aiohttp
import msgspec
from standardwebhooks import Webhook

from gateway.conversations.assistant_settings import AssistantSettings
from gateway.conversations.conversation import Conversation
from gateway.core.bounded.read import read_at_most
from gateway.core.notifications import new_id

_SECONDS = 4  # a borrower waits at the page; our choice
_MOST_BYTES = 10_000

Money = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,15}(\.[0-9]{1,4})?$")]


class CaseFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What the case system says now. ``pay_url``: where the borrower may pay, "" for nowhere."""

    balance: Money
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    due_date: date
    minimum_due: Money = "0"
    pay_url: Annotated[str, msgspec.Meta(pattern=r"^(https://[^\s]{1,500})?$")] = ""

    @property
    def amounts(self) -> tuple[Decimal, Decimal]:
        """The balance, and the least that is due now."""
        return Decimal(self.balance), Decimal(self.minimum_due)


_decode = msgspec.json.Decoder(CaseFigures).decode


class CaseSystem:
    """Calls case systems. ``secret`` gives the secret of the endpoint with an id."""

    def __init__(self, settings: Mapping[str, AssistantSettings], secret: Callable[[str], str]) -> None:
        self._settings = settings
        self._secret = secret

    async def figures(self, conversation: Conversation) -> CaseFigures | None:
        """None where there is no such system, or it doesn't answer as it should within some seconds."""
        settings = self._settings.get(conversation.tenant)
        if settings is None or not settings.case_url:
            return None
        # The real time: the receiver compares it with its own clock.
        now = datetime.now(UTC)
        identifier = new_id("msg", now)
        question = {"case_id": conversation.case_id, "borrower_id": conversation.borrower_id}
        body = msgspec.json.encode(question).decode()
        secret = self._secret(secret_id(conversation.tenant))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(identifier, now, body),
        }
        try:
            timeout = aiohttp.ClientTimeout(total=_SECONDS)
            async with (
                aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
                # A redirect could lead anywhere with a signed question.
                session.post(settings.case_url, data=body.encode(), headers=headers, allow_redirects=False) as answer,
            ):
                raw = await read_at_most(answer.content.iter_any(), _MOST_BYTES)
                return _decode(raw) if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None


def secret_id(tenant: str) -> str:
    """The name under which a tenant's secret for these calls is derived."""
    return f"assistant:{tenant}"
