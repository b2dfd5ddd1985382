"""An SMTP relay, both directions: hand a message over, take the mail that comes back.

Owns how the relay's replies map to ours; the codes themselves are data (``enhanced_codes.toml``), and the mail that
comes back is ``channels.email.incoming``'s.
Must not know who calls it.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parseaddr
from importlib.util import find_spec
from typing import Any

import aiosmtplib

from channels.base import (
    Accepted,
    Advice,
    BadSignature,
    CallbackRequest,
    Capability,
    Content,
    Heard,
    LookupAnswer,
    LookupResult,
    MalformedCallback,
    Message,
    PermanentFailure,
    ProviderReason,
    PushOutcome,
    Receipt,
    Reply,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from channels.email import listener, records
from channels.email.incoming import MailReader
from channels.email.mime import Envelope, build, from_header
from channels.email.parsing import LARGEST
from channels.email.pool import ConnectError, RelayConnection, RelaySettings, SmtpPool
from channels.email.refusals import no_connection, refusal
from channels.email.reports import reply_address, return_path, utf8_xtext, xtext
from channels.email.signing import DkimSigner
from channels.options import Clock, ProviderOptions, service, tls_context
from channels.outcomes import load_table

_OPTIONS = frozenset(
    {
        "host", "port", "tls", "username", "password", "ca_file", "domain", "return_path_domain",
        "from_address", "from_name", "connections", "max_messages", "max_idle_seconds",
        "timeout_seconds", "data_timeout_seconds", "callback_token",
        "listen_host", "listen_port", "listen_protocol", "complaints_address",
        "dkim_selector", "dkim_key_file", "replies", "unverified_tenant",
    }
)  # fmt: skip
# RFC 5321 section 4.2.3 and RFC 3463 section 3.4; a mail server keeps what is answered 4xx, and tries again.
_ANSWERS = {
    PushOutcome.STORED: "250 2.0.0 stored",
    PushOutcome.UNAVAILABLE: "451 4.3.0 try again later",
    PushOutcome.QUEUE_FULL: "452 4.3.1 too many wait to be read",
}


class SmtpProvider:
    """An SMTP relay. Options: see ``from_options``."""

    channel = "email"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._domain = options.text("domain")
        self._bounce_domain = options.text("return_path_domain", self._domain)
        try:
            self._from = from_header(options.text("from_address"), options.text("from_name", ""))
        except ValueError:
            raise ValueError(f"provider {name}: option from_address or from_name has control characters") from None
        connections = int(options.number("connections", 20, 1, 500))
        self.capability = Capability(
            concurrency=connections,
            slow_callbacks=True,
            callback_bytes=LARGEST,
            unverified_tenant=options.text("unverified_tenant", ""),
        )
        self._settings = RelaySettings(
            host=options.text("host"),
            port=int(options.number("port", 25, 1, 65_535)),
            tls=options.choice("tls", "starttls", ("none", "starttls", "tls")),
            username=options.text("username", ""),
            password=options.text("password", ""),
            tls_context=tls_context(name, options.text("ca_file", "")),
            local_hostname=self._domain,
            timeout=options.number("timeout_seconds", 10, 0.1, 600),
            connections=connections,
            max_messages=int(options.number("max_messages", 100, 1, 100_000)),
            max_idle=options.number("max_idle_seconds", 30, 1, 3600),
        )
        # RFC 5321 section 4.5.3.2.6 grants the relay ten minutes here; a worker's lease is shorter, and a reply
        # that comes later than this is an unknown outcome, which is resolved like any other.
        self._data_timeout = options.number("data_timeout_seconds", 30, 0.1, 600)
        self._callback_token = options.text("callback_token", "")
        self._pool: SmtpPool | None = None
        port = int(options.number("listen_port", 0, 0, 65_535))
        protocol = options.choice("listen_protocol", "smtp", ("smtp", "lmtp"))
        host = options.text("listen_host", "127.0.0.1")
        self._listens = listener.Address(host, port, protocol) if port else None
        readable = "yes" if port or self._callback_token else "no"
        self._takes_replies = options.choice("replies", readable, ("yes", "no")) == "yes"
        complaints = options.text("complaints_address", "").lower()
        table = load_table("channels.email", "enhanced_codes.toml")
        self._reader = MailReader(name, self._bounce_domain, complaints, table)
        self._dkim = _signer(name, self._domain, options)
        self._selector = options.text("dkim_selector", "")

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> SmtpProvider:
        """Build from settings: host, domain, from_address; optional port (25), tls (none | starttls | tls; starttls),
        username, password, ca_file, from_name, return_path_domain, connections (20), max_messages (100),
        max_idle_seconds (30), timeout_seconds (10), data_timeout_seconds (30), callback_token (reports are refused
        without one). Where mail servers deliver what comes back: listen_port (none), listen_host (127.0.0.1),
        listen_protocol (smtp | lmtp; smtp), complaints_address; replies (yes where there is listen_port or
        callback_token: a Reply-To at the domain of the return path, whose mail is delivered there);
        unverified_tenant (whose people review complaints and bounces that name no message of ours). To sign:
        dkim_selector and dkim_key_file (PEM), with the extra dkim. Needs the service ``clock``.

        Raises ValueError naming what is missing.
        """
        return cls(name, ProviderOptions(name, values, _OPTIONS), service(name, services, "clock"))

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``. ``provider_message_id`` is the Message-ID, which a repeat would share."""
        if message.valid_until is not None and message.valid_until <= self._clock():
            raise TransientFailure(ProviderReason.TOO_LATE)
        message_id = f"{message.delivery_id}@{self._domain}"
        answers = reply_address(message.reference, self._bounce_domain) if self._takes_replies else ""
        envelope = Envelope(self._from, message.address, message_id, self._clock(), message.headers, answers)
        raw = build(envelope, message.content)
        return Accepted(message_id, receipt_expected=await self._hand_over(message, raw))

    async def answer_reply(self, reply: Reply, text: str) -> None:
        """See ``channels.base.AnswersReplies``. Nothing comes back about an answer: its sender is null (RFC 3834)."""
        content = Content(text, text.partition(":")[0].partition("：")[0])
        message_id = f"{reply.provider_message_id}.answer@{self._domain}"
        envelope = Envelope(self._from, reply.address, message_id, self._clock(), {}, auto_submitted="auto-replied")
        message = Message("", 1, "", "", reply.address, content, "", "", None, "service")
        await self._hand_over(message, build(envelope, content))

    async def _hand_over(self, message: Message, raw: bytes) -> bool:
        """Give the message to the relay; whether reports about it were asked for. Raises SendFailure."""
        if self._dkim is not None:
            try:
                raw = await self._dkim.sign(raw)
            except Exception:  # whatever it is: ours, and nothing has been sent
                raise TransientFailure(ProviderReason.PROVIDER_CONFIG, "dkim") from None
        if self._pool is None:  # at first use: it belongs to the loop that sends
            self._pool = SmtpPool(self._settings)
        try:
            async with self._pool.connection() as connection:
                reports = message.reference != "" and connection.client.supports_extension("dsn")
                failure = await self._transaction(connection, message, raw, reports)
        except ConnectError as error:
            raise no_connection(error.error) from None
        if failure is not None:
            raise failure
        return reports

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``. Connects, logs in, and looks at what receivers look up in the DNS."""
        pool = SmtpPool(self._settings)
        try:
            async with pool.connection():
                pass
        except ConnectError as error:
            raise no_connection(error.error) from None
        finally:
            await pool.close()
        sender = parseaddr(self._from)[1].rpartition("@")[2]
        return await records.advice(sender, self._bounce_domain, self._selector and self._domain, self._selector)

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """See ``channels.base.Provider``. SMTP has no way to ask."""
        return LookupAnswer(LookupResult.UNSUPPORTED)

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``. The body is the report as the mail server got it (message/rfc822), posted
        by its pipe with ``Authorization: Bearer <callback_token>``."""
        self._authenticate(request)
        return self._reader.receipts(request.body)

    def read_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """See ``channels.base.TakesReplies``. The body is the mail to a reply address, posted as reports are."""
        self._authenticate(request)
        return self._reader.replies(request.body)

    def answer(self, text: str) -> tuple[bytes, str]:
        """See ``channels.base.TakesReplies``. A mail server's pipe carries nothing back."""
        return b"", "text/plain"

    async def listen(self, heard: Heard, stop: asyncio.Event) -> None:
        """See ``channels.base.Listens``. Nothing to do where no port is set. Raises OSError where it can't be had."""
        if self._listens is None:
            return
        # One thread: whoever sends many complex mails waits for their own, and the event loop for none.
        with ThreadPoolExecutor(1, thread_name_prefix="mail-reports") as thread:

            async def take(recipient: str, raw: bytes, null_sender: bool) -> str:
                loop = asyncio.get_running_loop()
                try:
                    said = await loop.run_in_executor(thread, self._reader.read, recipient, raw, null_sender)
                except MalformedCallback as error:
                    return f"554 5.6.0 no report that can be read: {error}"
                return _ANSWERS[await heard(*said)]

            await listener.listen(self._listens, self._reader.takes, take, stop)

    def _authenticate(self, request: CallbackRequest) -> None:
        given = request.headers.get("authorization", "")
        expected = f"Bearer {self._callback_token}"
        if not self._callback_token or not hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), expected.encode()
        ):
            raise BadSignature("Authorization")

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _transaction(
        self, connection: RelayConnection, message: Message, raw: bytes, reports: bool
    ) -> SendFailure | None:
        """MAIL, RCPT, DATA, step by step: where it breaks decides whether the relay may have the message."""
        client = connection.client
        unicode = not message.address.isascii()
        if unicode and not client.supports_extension("smtputf8"):
            return PermanentFailure(ProviderReason.INVALID_ADDRESS, "5.6.7")
        mail = [f"SIZE={len(raw)}"] if client.supports_extension("size") else []
        mail += ["SMTPUTF8"] if unicode else []
        rcpt: list[str] = []
        if reports:
            mail += ["RET=HDRS", f"ENVID={xtext(message.reference)}"]
            recipient = f"utf-8;{utf8_xtext(message.address)}" if unicode else f"rfc822;{xtext(message.address)}"
            rcpt = ["NOTIFY=SUCCESS,FAILURE", f"ORCPT={recipient}"]
        encoding = "utf-8" if unicode else "ascii"
        recipient_named = handing_over = False
        try:
            sender = return_path(message.reference, self._bounce_domain) if message.reference else ""
            await client.mail(sender, options=mail, encoding=encoding)
            recipient_named = True
            await client.rcpt(message.address, options=rcpt, encoding=encoding)
            handing_over = True
            await client.data(raw, timeout=self._data_timeout)
        except aiosmtplib.SMTPResponseException as refused:
            return await self._refused(connection, refused, recipient_named=recipient_named)
        except aiosmtplib.SMTPTimeoutError:
            connection.broken = True
            return (UnknownOutcome if handing_over else TransientFailure)(ProviderReason.TIMEOUT)
        except (aiosmtplib.SMTPException, OSError, RuntimeError):
            connection.broken = True
            return (UnknownOutcome if handing_over else TransientFailure)(ProviderReason.CONNECTION_LOST)
        except ValueError:
            # The library refuses an address that cannot be put on the wire (control characters, no angle form).
            return PermanentFailure(ProviderReason.INVALID_ADDRESS, "5.1.3")
        return None

    async def _refused(
        self, connection: RelayConnection, refused: aiosmtplib.SMTPResponseException, *, recipient_named: bool
    ) -> SendFailure:
        """The relay said no, so it has nothing; and the connection is good once the envelope is cleared."""
        try:
            if refused.code in (421, 503):  # going away, or out of step with us
                connection.broken = True
            else:
                await connection.client.rset()
        except (aiosmtplib.SMTPException, OSError):
            connection.broken = True
        return refusal(refused, before_recipient=not recipient_named)


def _signer(name: str, domain: str, options: ProviderOptions) -> DkimSigner | None:
    selector, key_file = options.text("dkim_selector", ""), options.text("dkim_key_file", "")
    if not (selector or key_file):
        return None
    for option, value in (("dkim_selector", selector), ("dkim_key_file", key_file)):
        if not value:
            raise ValueError(f"provider {name}: option {option} is missing")
    if find_spec("dkim") is None:
        raise ValueError(f"provider {name}: install the extra dkim (pip install 'notification-gateway[dkim]')")
    try:
        return DkimSigner(domain, selector, key_file)
    except ValueError as error:
        raise ValueError(f"provider {name}: {error}") from None
