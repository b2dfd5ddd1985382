"""The request that an answer makes of ``accept``: its key, its template, its route. Pure.

The route is the channel on which the borrower wrote, and the address that they wrote from: nobody else reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gateway.conversations.conversation import Conversation
from gateway.core.notifications import Notification, Step
from gateway.core.requests import NotificationRequest

CLIENT = "assistant"  # the actor of the assistant's requests
PERSONS_TEMPLATE = "conversation-answer"  # has a person's own words as its variable ``text``
# An answer that could not be handed over by then is no answer any more; our choice: the next working day at the latest.
_GIVEN_UP_AFTER = timedelta(days=3)


def person_key(conversation: Conversation) -> str:
    """One for each revision: of two answers to one state of a conversation only one is accepted."""
    return f"cnv:{conversation.id}:{conversation.revision}"


def assistant_key(reply_id: str, purpose: str = "") -> str:
    """One for each reply: however often it comes or is looked at, it is answered once."""
    return f"rpl:{reply_id}:{purpose}" if purpose else f"rpl:{reply_id}"


def answer_request(
    conversation: Conversation,
    latest: Notification,
    key: str,
    template: str,
    variables: Mapping[str, Any],
    now: datetime,
    channel: str = "",
) -> NotificationRequest:
    """``latest`` is the message that was answered: its borrower and case, and the address written from."""
    return NotificationRequest(
        idempotency_key=key,
        borrower=latest.borrower,
        case=latest.case,
        template=template,
        template_version=None,
        variables=variables,
        route=(Step(channel or conversation.channel),),
        category=None,
        send_at=None,
        expires_at=now + _GIVEN_UP_AFTER,
        dedup_key=key,
        metadata={"conversation": conversation.id},
        # The same for every try of the same answer, whatever else has changed meanwhile.
        raw={"conversation": conversation.id, "key": key, "template": template, "text": variables.get("text", "")},
    )
