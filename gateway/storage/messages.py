"""The words of messages, exactly as they were handed over, for each attempt that has begun.

They are in the attempt's row, or in a row of their own, where earlier versions wrote them. So there is no attempt
without its words, and a template that changes or goes later changes nothing.

The content is JSON, compressed (gateway/storage/packing/words.py), without what is empty. The event
``attempt_started`` has the SHA-256 of that JSON, so that the chain of events proves the words. A random salt in it
keeps the digest from giving away an erased text: of a reminder, most can be guessed.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from channels.base import Content
from gateway.core.codec import instant
from gateway.storage.bulk import inserting
from gateway.storage.packing.words import deflated, inflated
from gateway.storage.statements import Statement
from gateway.storage.tables.path import attempts, deliveries, messages, notifications

_SALT_BYTES = 16  # 128 bits: nobody can try them all


@dataclass(frozen=True, slots=True)
class SealedWords:
    """The words of one attempt as they are stored, with the digest for the chain of events."""

    delivery_id: str
    attempt: int
    content: bytes
    digest: str


def seal_words(delivery_id: str, attempt: int, content: Content, *, apart: bool = False) -> SealedWords:
    """The words that an attempt hands over. With a provider's template, its parameters are the words that are sent.

    ``apart``: they go where the version before reads them.
    """
    said: dict[str, Any] = {"salt": _text(secrets.token_bytes(_SALT_BYTES)), "text": content.text}
    if content.subject:
        said["subject"] = content.subject
    if content.html:
        said["html"] = content.html
    if content.template is not None:
        call = content.template
        said["template"] = {"reference": call.reference, "language": call.language, "parameters": call.parameters}
    plain = msgspec.json.encode(said)
    return SealedWords(delivery_id, attempt, deflated(plain, alone=apart), _text(sha256(plain).digest()))


def opened(content: bytes) -> str:
    """The JSON of stored words: what the digest in the chain of events is of."""
    return inflated(content).decode()


def storing(connection: Connection, words: Sequence[SealedWords]) -> list[Statement]:
    """The statement that stores the words of attempts apart from them; [] for none."""
    rows = [{"delivery_id": each.delivery_id, "attempt": each.attempt, "content": each.content} for each in words]
    return inserting(connection, messages, rows)


_WORDS = func.coalesce(attempts.c.words, messages.c.content).label("content")
_APART = (messages.c.delivery_id == attempts.c.delivery_id) & (messages.c.attempt == attempts.c.number)


def words_by_attempt(connection: Connection, delivery_ids: Iterable[str]) -> dict[tuple[str, int], str]:
    """The words of these deliveries' attempts, as the JSON that is proved, by delivery and attempt; not the erased."""
    rows = connection.execute(
        select(attempts.c.delivery_id, attempts.c.number, _WORDS)
        .join(messages, _APART, isouter=True)
        .where(attempts.c.delivery_id.in_(sorted(delivery_ids)), _WORDS.is_not(None))
        .order_by(attempts.c.delivery_id, attempts.c.number)
    )
    return {(row.delivery_id, row.number): opened(row.content) for row in rows}


def erase_words(connection: Connection, notification_id: str) -> None:
    """Erase the words of all attempts of a notification; that they were made stays."""
    steps = select(deliveries.c.id).where(deliveries.c.notification_id == notification_id).scalar_subquery()
    connection.execute(update(attempts).where(attempts.c.delivery_id.in_(steps)).values(words=None))
    connection.execute(delete(messages).where(messages.c.delivery_id.in_(steps)))


def messages_of(connection: Connection, tenant: str, notification_id: str) -> list[dict[str, Any]] | None:
    """The words of each attempt of a notification, in order; None where the tenant has no such notification.

    ``erased``: the attempt was made, and its words have been removed since.
    """
    mine = (notifications.c.id == notification_id) & (notifications.c.tenant == tenant)
    owner = connection.execute(select(notifications.c.template, notifications.c.template_version).where(mine)).first()
    if owner is None:
        return None
    rows = connection.execute(
        select(deliveries.c.step, deliveries.c.channel, attempts, _WORDS)
        .join(deliveries, deliveries.c.id == attempts.c.delivery_id)
        .join(messages, _APART, isouter=True)
        .where(deliveries.c.notification_id == notification_id)
        .order_by(deliveries.c.step, attempts.c.number)
    )
    return [
        {
            "delivery_id": row.delivery_id,
            "step": row.step,
            "channel": row.channel,
            "attempt": row.number,
            "provider": row.provider,
            "started_at": instant(row.started_at),
            "outcome": row.outcome,
            "template": owner.template,
            "template_version": owner.template_version,
            **words_view(row.content),
        }
        for row in rows
    ]


def words_view(content: bytes | None) -> dict[str, Any]:
    """Stored words as the API answers them; None: they were erased, or the attempt is older than this table."""
    said = {} if content is None else msgspec.json.decode(opened(content))
    call = said.get("template")
    return {
        "erased": content is None,
        "text": said.get("text", ""),
        "subject": said.get("subject", ""),
        "html": said.get("html", ""),
        "provider_template": call
        and {
            "reference": call["reference"],
            "language": call["language"],
            "parameters": [{"name": name, "value": value} for name, value in call["parameters"]],
        },
    }


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
