"""An SMTP server on loopback that simulates a mail relay with delivery reports, for demo and tests.

Owns the simulation. Must not know the gateway: it speaks SMTP only, and posts the requested delivery reports
(RFC 3461, RFC 3464) to ``dsn_url``, as a mail server's pipe transport would.

The recipient's local part, up to the first ``+``, selects the behaviour:

  bounce    550 5.1.1 at RCPT
  full      452 4.2.2 at RCPT, once for each recipient
  dsnfail   accepted, then a report "failed" with 5.1.1
  silent    accepted, and never a report
  drop      accepted and kept, but the connection drops before the reply to DATA; the report comes
  anything else: accepted, then a report "delivered" where asked for
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Any

import aiohttp
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from channels.email.reports import from_xtext
from channels.options import Clock
from channels.received import Received

_PLAIN_PATH = re.compile(r"\s*<([^<>\s\"\\()]+@[^<>\s\"\\()]+)>(.*)")
_REPORTS_AT_ONCE = 16  # our choice
_REPORT_TRIES = 6  # our choice, as for SMS
_REPORT_BACKOFF = 0.2  # seconds, doubled at each retry; our choice
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^>\r\n]+)>", re.IGNORECASE | re.MULTILINE)
_DSN_PARAMETER = re.compile(r"\s(RET|ENVID|NOTIFY|ORCPT)=(\S+)", re.IGNORECASE)
# octets: RFC 5321 section 4.5.3.1.4, SIZE (RFC 1870), SMTPUTF8 (RFC 6531), DSN (RFC 3461 section 5)
_LONGEST_COMMAND = 512 + 26 + 10 + 500


@dataclass(frozen=True, slots=True)
class Mail:
    """A stored message."""

    message_id: str
    sender: str
    recipient: str
    raw: bytes


@dataclass(slots=True)
class SmtpSink:
    """Construct it, await ``start``, configure the provider with ``port``, and await ``stop``."""

    clock: Clock
    received: Received = field(default_factory=Received)
    dsn_url: str = ""
    dsn_token: str = ""
    offer_dsn: bool = True
    delay_seconds: float = 0.0  # before a report
    port: int = 0
    tls: ssl.SSLContext | None = None  # offers STARTTLS and requires it
    credentials: tuple[str, str] | None = None  # requires this user and password; needs ``tls``
    keep_messages: int = 10_000  # the number of newest messages kept; counts include all
    mails: deque[Mail] = field(init=False)
    connections: int = 0
    reports_sent: int = 0
    reports_failed: int = 0
    _tried: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_REPORTS_AT_ONCE))
    _session: aiohttp.ClientSession | None = None
    _server: asyncio.Server | None = None
    _open: set[_Conversation] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.mails = deque(maxlen=self.keep_messages)

    async def start(self) -> None:
        """Listen on loopback. Sets ``port`` where it was 0."""
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd logs addresses at INFO
        loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        handler = _SinkHandler(self)
        # The backlog has room for a whole batch that connects at the same time.
        self._server = await loop.create_server(
            lambda: _Conversation(self, handler, loop), "127.0.0.1", self.port, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, close all connections, and cancel pending reports."""
        if self._server is not None:
            self._server.close()
        for conversation in list(self._open):
            if conversation.transport is not None:
                conversation.transport.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def summary(self) -> dict[str, int]:
        """The counts of messages, duplicates and reports."""
        reports = {"reports_sent": self.reports_sent, "reports_failed": self.reports_failed}
        return self.received.summary() | reports

    def refuse(self, recipient: str) -> str | None:
        """The SMTP reply that refuses a recipient, if it is refused now."""
        magic = _magic(recipient)
        if magic == "bounce":
            return "550 5.1.1 no such mailbox"
        if magic == "full" and recipient not in self._tried:
            self._tried.add(recipient)
            return "452 4.2.2 mailbox full"
        return None

    def keep(self, envelope: Envelope, reference: str, notify: str) -> None:
        """Store a message and schedule its report."""
        raw: bytes = envelope.original_content or b""
        match = _MESSAGE_ID.search(raw)
        mail = Mail(match[1].decode() if match else "", envelope.mail_from or "", envelope.rcpt_tos[0], raw)
        self.mails.append(mail)
        self.received.came(mail.message_id)
        magic = _magic(mail.recipient)
        wanted = "FAILURE" if magic == "dsnfail" else "SUCCESS"
        if self.dsn_url and magic != "silent" and wanted in notify.upper().split(","):
            task = asyncio.create_task(self._report(mail, reference, failed=magic == "dsnfail"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def before_answer(self) -> None:
        """A hook between storing a message and the reply to DATA. Test servers override it to misbehave."""

    async def _report(self, mail: Mail, reference: str, failed: bool) -> None:
        await asyncio.sleep(self.delay_seconds)
        if failed:
            self.received.failed(mail.message_id)
        raw = report(mail, reference, failed, format_datetime(self.clock()))
        headers = {"Content-Type": "message/rfc822", "Authorization": f"Bearer {self.dsn_token}"}
        for attempt in range(_REPORT_TRIES):
            if attempt:
                await asyncio.sleep(_REPORT_BACKOFF * 2 ** (attempt - 1))
            async with self._gate:
                if await self._post(raw, headers):
                    self.reports_sent += 1
                    return
        self.reports_failed += 1

    async def _post(self, raw: bytes, headers: dict[str, str]) -> bool:
        assert self._session is not None  # started
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._session.post(self.dsn_url, data=raw, headers=headers) as answer:
                await answer.read()
                return answer.status < 500
        return False


class _SinkHandler:
    """aiosmtpd's hooks."""

    def __init__(self, sink: SmtpSink) -> None:
        self._sink = sink

    async def handle_EHLO(  # aiosmtpd's hooks have the names of SMTP verbs
        self, server: _Conversation, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        offers = ["250-DSN", "250-ENHANCEDSTATUSCODES"] if self._sink.offer_dsn else ["250-ENHANCEDSTATUSCODES"]
        return [*responses[:-1], *offers, responses[-1]]

    async def handle_RCPT(
        self, server: _Conversation, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if refusal := self._sink.refuse(address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: _Conversation, session: Session, envelope: Envelope) -> str:
        self._sink.keep(envelope, server.envelope_id, server.notify)
        await self._sink.before_answer()
        if _magic(envelope.rcpt_tos[0]) == "drop" and isinstance(server.transport, asyncio.Transport):
            server.transport.abort()
        return "250 2.0.0 kept"


class _Conversation(SMTP):
    """aiosmtpd's server, with DSN parameters removed before it parses a command, since it refuses them."""

    def __init__(self, sink: SmtpSink, handler: _SinkHandler, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            handler,
            enable_SMTPUTF8=True,
            hostname="sink.localhost",
            loop=loop,
            tls_context=sink.tls,
            require_starttls=sink.tls is not None,
            auth_required=sink.credentials is not None,
            authenticator=self._check,
        )
        # aiosmtpd has its limits on the class, and every new connection resets those of all others.
        self.command_size_limits = defaultdict(lambda: _LONGEST_COMMAND)
        self._sink = sink
        self.envelope_id = ""
        self.notify = ""

    def _check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        expected = self._sink.credentials
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        # handled=False leaves the reply 535 5.7.8 to aiosmtpd
        return AuthResult(success=expected is not None and given == expected, handled=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sink.connections += 1
        self._sink._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._sink._open.discard(self)
        super().connection_lost(error)

    async def smtp_MAIL(self, arg: str | None) -> None:
        found, arg = self._take(arg)
        self.envelope_id = from_xtext(found.get("ENVID", ""))
        self.notify = ""
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        found, arg = self._take(arg)
        self.notify = found.get("NOTIFY", "FAILURE")  # the default of RFC 3461 section 4.1
        await super().smtp_RCPT(arg)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        # aiosmtpd parses addresses by the full grammar of RFC 5322, which takes most of its time; plain ones skip it.
        if match := _PLAIN_PATH.fullmatch(arg):
            return match[1], match[2]
        found: tuple[str | None, str | None] = super()._getaddr(arg)
        return found

    def _take(self, arg: str | None) -> tuple[dict[str, str], str | None]:
        if arg is None or not self._sink.offer_dsn:
            return {}, arg
        found = {name.upper(): value for name, value in _DSN_PARAMETER.findall(arg)}
        return found, _DSN_PARAMETER.sub("", arg)


def report(mail: Mail, reference: str, failed: bool, date: str) -> bytes:
    """A multipart/report as mail servers send it (RFC 3464 and RFC 6522)."""
    action, status = ("failed", "5.1.1") if failed else ("delivered", "2.1.5")
    lines = [
        "From: MAILER-DAEMON@sink.localhost",
        f"To: {mail.sender}",
        f"Date: {date}",
        "Subject: Delivery Status Notification",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=_report"',
        "",
        "--=_report",
        "Content-Type: text/plain",
        "",
        f"The message was {action}.",
        "--=_report",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; sink.localhost",
        *([f"Original-Envelope-Id: {reference}"] if reference else []),
        "",
        f"Final-Recipient: rfc822; {mail.recipient}",
        f"Action: {action}",
        f"Status: {status}",
        "",
        "--=_report",
        "Content-Type: text/rfc822-headers",
        "",
        f"Message-ID: <{mail.message_id}>",
        "",
        "--=_report--",
        "",
    ]
    return "\r\n".join(lines).encode("utf-8")


def _magic(recipient: str) -> str:
    return recipient.partition("@")[0].partition("+")[0].lower()
