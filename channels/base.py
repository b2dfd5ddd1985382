"""What a channel and a provider are, and how sending fails.

A *channel* (sms, email, inapp) knows what its addresses look like and which providers it has.
A *provider* is one file, both directions: it sends, looks up, and reads its own callbacks.

Failures to send, the whole tree:

  SendFailure
  ├── TransientFailure   nothing was sent; may be tried again (after ``retry_after`` seconds)
  ├── PermanentFailure   nothing was sent; never will be at this address, content or configuration
  └── UnknownOutcome     the provider may or may not have the message; never resend blindly

Callbacks fail as:

  CallbackError
  ├── BadSignature       refuse: it is not from the provider
  └── MalformedCallback  it is signed, and makes no sense
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class ProviderReason(StrEnum):
    """Why an attempt ended as it did: the closed list that every provider's own codes are mapped to."""

    ACCEPTED = "accepted_by_provider"
    DELIVERED = "delivered"
    INVALID_ADDRESS = "invalid_address"
    UNREACHABLE = "unreachable"
    OPTED_OUT_AT_PROVIDER = "opted_out_at_provider"
    BLOCKED = "blocked"
    FILTERED = "filtered"
    MAILBOX_FULL = "mailbox_full"
    CONTENT_REJECTED = "content_rejected"
    RATE_LIMITED = "rate_limited"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_CONFIG = "provider_config"
    CONNECTION_FAILED = "connection_failed"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    SERVER_ERROR = "server_error"
    TOO_LATE = "too_late"
    NOT_BEGUN = "not_begun"
    UNMAPPED = "unmapped_code"


class SendFailure(Exception):
    """Sending did not end in an acceptance. Carries codes only, never an address or a text."""

    def __init__(self, reason: ProviderReason, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{reason} {code}".strip())
        self.reason = reason
        self.code = code
        self.retry_after = retry_after


class TransientFailure(SendFailure):
    """The provider surely does not have the message; another attempt is safe."""


class PermanentFailure(SendFailure):
    """The provider surely does not have the message, and trying again would not help."""


class UnknownOutcome(SendFailure):
    """The request left us and no answer came back: the provider may have the message."""


class CallbackError(Exception):
    """A callback could not be taken."""


class BadSignature(CallbackError):
    """The callback's signature does not match: not from the provider, or PUBLIC_URL is wrong."""


class MalformedCallback(CallbackError):
    """The callback is signed and yet unreadable; ``field`` names what is wrong."""


class InvalidAddress(ValueError):
    """The address cannot receive on this channel. The message says why and never repeats the address."""


@dataclass(frozen=True, slots=True)
class Content:
    """A rendered message. sms uses ``text``; email ``subject``, ``text``, ``html``; inapp ``subject``, ``text``."""

    text: str
    subject: str = ""
    html: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One attempt to be made. ``reference`` is our signed id: providers that can, carry it and return it.

    ``callback_url`` is where the provider reports (it already contains the reference), ``valid_until`` the
    instant (UTC, aware) after which the provider must no longer deliver.
    """

    delivery_id: str
    attempt: int
    tenant: str
    borrower_id: str
    address: str
    content: Content
    reference: str
    callback_url: str
    valid_until: datetime | None
    category: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the message. ``delivered``: it is with the borrower already, no receipt follows.

    ``receipt_expected`` is False where the provider reports failures at most (an SMTP relay without DSN): there,
    silence until the deadline means that it arrived.
    """

    provider_message_id: str
    delivered: bool = False
    receipt_expected: bool = True


class ReceiptStatus(StrEnum):
    """What a provider's later word means to us."""

    SENT = "sent"
    RELAYED = "relayed"  # passed on to where only failures are reported
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    READ = "read"
    OPTED_OUT = "opted_out"
    COMPLAINED = "complained"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider's later word on an attempt, which ``reference``, ``provider_message_id`` or ``tag`` names.

    Without any of them, or with only a reference that we did not sign, it is counted as unverified, and ignored.

    ``tag`` is what we gave along and the provider repeats beside its own id, which we may never have learned.
    """

    provider: str
    status: ReceiptStatus
    provider_message_id: str = ""
    reference: str = ""
    reason: ProviderReason | None = None
    code: str = ""
    tag: str = ""


class Keyword(StrEnum):
    """What a provider's own opt-out handling took a reply for."""

    STOP = "stop"
    START = "start"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a borrower wrote back, as a provider hands it on. ``address`` is theirs, not yet normalised.

    ``answered``: the provider has answered by itself (its own opt-out handling), so we must not answer as well.
    ``keyword``: what the provider took the reply for, and acts on; it decides, whatever the text says.
    ``reference``: our signed reference to the message that is answered; then it is a reply from that message's address,
    and ``address`` says nothing, for a mail's sender can be forged.
    """

    provider: str
    provider_message_id: str
    address: str
    text: str
    answered: bool = False
    keyword: Keyword | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """An HTTP callback as it arrived. ``url`` is the public one (PUBLIC_URL + path + query), as signed."""

    url: str
    headers: Mapping[str, str]  # lower-case names
    query: Mapping[str, str]
    body: bytes


class LookupResult(StrEnum):
    """What a provider says when asked about an attempt whose outcome is unknown."""

    FOUND = "found"
    ABSENT = "absent"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class LookupAnswer:
    """``tag``: under which a receipt may have come, or may still come, where nobody can be asked."""

    result: LookupResult
    receipt: Receipt | None = None
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Capability:
    """What a provider can do; the policy checks it before a message is handed over.

    ``idempotent``: sending the same delivery again has no further effect, so an unknown outcome may simply
    be sent again. ``looks_up``: ``lookup`` can answer ABSENT with authority. ``concurrency``: calls at once.
    ``slow_callbacks``: reading a callback may take longer than an event loop may be kept waiting, so a thread does it.
    ``callback_bytes``: the largest callback that is read; the default is our choice, several times what a form of a
    provider's has (Twilio's webhooks with a text of 1,600 characters: 20 kB).
    """

    categories: frozenset[str] = frozenset({"collections", "service", "promotional"})
    idempotent: bool = False
    looks_up: bool = False
    concurrency: int = 50
    slow_callbacks: bool = False
    callback_bytes: int = 65_536


@runtime_checkable
class Provider(Protocol):
    """One way to send on a channel. ``name`` is the instance's name: URL part, metric label, ledger value."""

    name: str
    channel: str
    capability: Capability

    async def send(self, message: Message) -> Accepted:
        """Hand the message over, once. No retry inside.

        Raises: TransientFailure, PermanentFailure, UnknownOutcome; nothing else.
        """
        ...

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """Ask the provider what became of an attempt begun at ``since``. Raises TransientFailure when it can't say."""
        ...

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and recognise a callback. Raises BadSignature, MalformedCallback."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class TakesReplies(Protocol):
    """A provider on which borrowers can write back."""

    def read_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify and recognise messages from borrowers. Raises BadSignature, MalformedCallback."""
        ...

    def answer(self, text: str) -> tuple[bytes, str]:
        """The HTTP answer that has the provider send ``text`` back ("": nothing); its body and media type."""
        ...


@dataclass(frozen=True, slots=True)
class Advice:
    """Something about a provider that works and yet should be changed, and how."""

    what: str
    remedy: str


@runtime_checkable
class Checks(Protocol):
    """A provider that can be asked whether it is there and knows us. Nothing is sent to anybody by it."""

    async def check(self) -> Sequence[Advice]:
        """Make one harmless authenticated call. Raises SendFailure with what is wrong."""
        ...


# What a listening provider heard, to be stored. False: it could not be, and is to be handed on again.
Heard = Callable[[Sequence[Receipt], Sequence[Reply]], Awaitable[bool]]


@runtime_checkable
class Listens(Protocol):
    """A provider that reports on a connection of its own rather than by HTTP; it listens in every worker."""

    async def listen(self, heard: Heard, stop: asyncio.Event) -> None:
        """Hand on what comes, until told to stop. Whatever happens to the connection, it is made again."""
        ...


@runtime_checkable
class AnswersReplies(Protocol):
    """A provider that sends a text back to who wrote as a message; others have it in the answer to their callback."""

    async def answer_reply(self, reply: Reply, text: str) -> None:
        """Send ``text`` to the reply's address, once. Raises SendFailure."""
        ...


class Channel(Protocol):
    """One kind of address. Registered under the entry-point group ``gateway.channels``."""

    name: str
    kinds: tuple[str, ...]  # the provider kinds it can build

    def normalise(self, address: str) -> str:
        """The one spelling of an address (E.164, lower-case domain …). Raises InvalidAddress."""
        ...

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """Make the provider ``name`` of ``kind`` from its settings.

        ``services`` are the things that the composition root lends: ``inbox`` (an InboxStore) for in-app.
        Raises ValueError naming the missing option.
        """
        ...
