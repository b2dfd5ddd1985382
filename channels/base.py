"""What a channel and a provider are, and how sending fails.

A *channel* knows what its addresses look like, what its texts are made of, and which providers it has.
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
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable
from uuid import UUID, uuid5

from channels.content import Content as Content
from channels.content import TemplateCall as TemplateCall
from channels.profile import ChannelProfile


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
    TEMPLATE_UNAVAILABLE = "template_unavailable"  # the provider's template is missing, paused or does not match
    WINDOW_CLOSED = "window_closed"  # free text, and the person has not written lately
    FREQUENCY_LIMITED = "frequency_limited"  # the provider's limit of messages to one person
    NOT_ON_CHANNEL = "not_on_channel"  # nobody has this address here, or follows us
    NO_CONSENT = "no_consent"  # the person has not permitted messages here, which is no opt-out
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


_DELIVERIES = UUID("6f1f0c0e-8f55-5d0c-9f0b-6f2a4a1f6c01")  # the name space of ``Message.idempotency_key``; ours
FOR_EVER = timedelta.max


class InvalidAddress(ValueError):
    """The address cannot receive on this channel. The message says why and never repeats the address."""


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
    # Until when the person's own last message permits free text here; None: it does not, or the channel needs none.
    window_until: datetime | None = None

    @property
    def idempotency_key(self) -> str:
        """A UUID of the delivery, the same for all its attempts, for providers that recognise a repeated request."""
        return str(uuid5(_DELIVERIES, self.delivery_id))


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
class OriginalReport:
    """A report as it arrived, and the part of it from which a person finds out whom it is about."""

    raw: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider's later word on an attempt, which ``reference``, ``provider_message_id`` or ``tag`` names.

    Without any of them, or with only a reference that we did not sign, it is unverified and changes nothing; then a
    person reads its ``original``, where it has one.

    ``tag`` is what we gave along and the provider repeats beside its own id, which we may never have learned.
    """

    provider: str
    status: ReceiptStatus
    provider_message_id: str = ""
    reference: str = ""
    reason: ProviderReason | None = None
    code: str = ""
    tag: str = ""
    original: OriginalReport | None = field(default=None, repr=False, compare=False)


class Keyword(StrEnum):
    """What a provider's own opt-out handling took a reply for."""

    STOP = "stop"
    START = "start"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a borrower wrote back, as a provider hands it on. ``address`` is theirs, not yet normalised.

    ``identity``: of which kind the address is, where it is not the channel's own (a WhatsApp user's id in place of a
    number); the same word for the same kind. Such an address is taken as it is.
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
    identity: str = ""


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """An HTTP callback as it arrived. ``url`` is the public one (PUBLIC_URL + path + query), as signed.

    ``secret`` is what the path has after the provider's name: all that an unsigned callback can prove itself with.
    """

    url: str
    headers: Mapping[str, str]  # lower-case names
    query: Mapping[str, str]
    body: bytes
    method: str = "POST"
    secret: str = ""

    def require_secret(self, expected: str) -> None:
        """Raises BadSignature where the path has not this secret, which must not be empty."""
        if not expected or not hmac.compare_digest(expected.encode(), self.secret.encode()):
            raise BadSignature("the path has no valid secret")


class LookupResult(StrEnum):
    """What a provider says when asked about an attempt whose outcome is unknown."""

    FOUND = "found"
    ABSENT = "absent"
    UNSUPPORTED = "unsupported"
    SEND_AGAIN = "send_again"  # not said by providers: their idempotency makes a second request harmless


@dataclass(frozen=True, slots=True)
class LookupAnswer:
    """``tag``: under which a receipt may have come, or may still come, where nobody can be asked."""

    result: LookupResult
    receipt: Receipt | None = None
    tag: str = ""


class Silence(StrEnum):
    """What it means that nothing was reported on an accepted message until its receipt was due.

    Of a provider that reports failures only, ``Accepted.receipt_expected`` says so: there, silence means delivered.
    """

    LOST_RECEIPT = "lost_receipt"  # it reports everything: look it up; then undelivered, and still a contact
    FAILED = "failed"  # it reports deliveries alone: the message did not arrive, and is no contact
    UNPROVEN = "unproven"  # it reports nothing: the message may have arrived, is a contact, and the route goes on


@dataclass(frozen=True, slots=True)
class SlotRules:
    """What a provider takes as a parameter of its templates, besides what none takes (line ends, tabs, many spaces).

    ``longest``: characters of one value; 0: no limit. ``links``: whether a value may have a link.
    """

    longest: int = 0
    links: bool = True


@dataclass(frozen=True, slots=True)
class Capability:
    """What a provider can do; the policy checks it before a message is handed over.

    ``idempotent_for``: how long after the first request another one for the same delivery has no further effect, so
    that an unknown outcome may simply be sent again (``Message.idempotency_key``); zero: never. ``silence``: what no
    receipt within ``receipt_within`` means (None: GATEWAY_RECEIPT_HOURS). ``looks_up``: ``lookup`` can answer ABSENT
    with authority. ``templates_only``: it sends its own approved templates alone, though the channel takes free text.
    ``concurrency``: calls at once. ``slow_callbacks``: reading a callback may take longer than an event
    loop may be kept waiting, so a thread does it. ``callback_bytes``: the largest callback that is read; the default is
    our choice, several times what a provider's form has (Twilio's webhooks with a text of 1,600 characters: 20 kB).
    ``slots``: the parameters of its templates. ``unverified_tenant``: whose people read unverified reports; "": of the
    only tenant that there is.
    """

    categories: frozenset[str] = frozenset({"collections", "service", "promotional"})
    idempotent_for: timedelta = timedelta(0)
    silence: Silence = Silence.LOST_RECEIPT
    receipt_within: timedelta | None = None
    looks_up: bool = False
    templates_only: bool = False
    concurrency: int = 50
    slow_callbacks: bool = False
    callback_bytes: int = 65_536
    slots: SlotRules = SlotRules()
    unverified_tenant: str = ""

    def repeatable(self, first: datetime, now: datetime) -> bool:
        """Whether a request first made at ``first`` may be repeated at ``now`` without a further effect."""
        return now - first < self.idempotent_for


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


class TemplateStatus(StrEnum):
    """What a provider says of a template of its own. Only what is approved may be sent."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    PAUSED = "paused"
    REJECTED = "rejected"
    DISABLED = "disabled"
    RECATEGORISED = "recategorised"  # as paused: under a category in which we don't send


@dataclass(frozen=True, slots=True)
class TemplateReport:
    """The provider's word on a template: ``reference`` and ``language`` as in ``TemplateCall``; "": of all languages.

    ``reason`` is the provider's own word for it, without personal data.
    """

    reference: str
    status: TemplateStatus
    language: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallbackEvents:
    """All that one callback says. Kinds of event that the provider does not know are left out, and are no error.

    ``body`` and ``media_type`` are the answer that the other side wants: an acknowledgement, or the challenge of a GET
    handshake; without a body the answer is 204.
    """

    receipts: Sequence[Receipt] = ()
    replies: Sequence[Reply] = ()
    templates: Sequence[TemplateReport] = ()
    body: bytes = b""
    media_type: str = "text/plain"


@runtime_checkable
class ReadsEvents(Protocol):
    """A provider whose callbacks, POST and GET, have one URL for receipts, replies and the states of templates.

    The URL is ``/v1/receipts/NAME``, or ``/v1/receipts/NAME/SECRET`` for callbacks without a signature. Replies are
    answered by ``AnswersReplies``, where the provider has that.
    """

    def read_events(self, request: CallbackRequest) -> CallbackEvents:
        """Verify and recognise a callback. Raises BadSignature, MalformedCallback."""
        ...


@runtime_checkable
class ReportsTemplates(Protocol):
    """A provider that can be asked for the states of its templates."""

    async def template_states(self, references: Sequence[str]) -> Sequence[TemplateReport]:
        """The states of these templates. Raises SendFailure."""
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


class PushOutcome(StrEnum):
    """Whether what a listening provider heard is stored. If not, it has to be handed on again."""

    STORED = "stored"
    UNAVAILABLE = "unavailable"  # the ledger can't be written now
    QUEUE_FULL = "queue_full"  # too many unverified reports wait for a person


# What a listening provider heard, to be stored.
Heard = Callable[[Sequence[Receipt], Sequence[Reply]], Awaitable[PushOutcome]]


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
    profile: ChannelProfile

    def normalise(self, address: str) -> str:
        """The one spelling of an address (E.164, lower-case domain …). Raises InvalidAddress."""
        ...

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """Make the provider ``name`` of ``kind`` from its settings.

        ``services`` are the things that the composition root lends: ``inbox`` (an InboxStore) for in-app.
        Raises ValueError naming the missing option.
        """
        ...
