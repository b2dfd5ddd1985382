"""Mails that come back about ours, as other servers write them, and a mail server that delivers them to us."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Sequence

from channels.base import PushOutcome, Receipt, Reply
from channels.email.sink import Mail
from channels.email.smtp import SmtpProvider
from tests.support.production import free_port
from tests.support.providers.fake_servers import clock
from tests.support.waiting import LIMIT_SECONDS

TO = "chen@example.com"
REFERENCE = f"dlv_{1:032x}.1.{'ab' * 12}"
MAIL = Mail("dlv_1@lender.example", f"{REFERENCE}@lender.example", TO, b"")

OWN_WORDS = """From: MAILER-DAEMON@odd.example
To: {to}
Subject: failure notice
MIME-Version: 1.0
Content-Type: text/plain

Hi. This is the qmail-send program at odd.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<borrower@odd.example>:
Sorry, no mailbox here by that name. (#5.1.1)
"""

COMPLAINT = """From: feedback@mailbox.example
To: abuse@lender.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="=_b"

--=_b
Content-Type: text/plain

This is a complaint.
--=_b
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Mailbox/1
Version: 1
{field}

--=_b
Content-Type: text/rfc822-headers

{original}

--=_b--
"""


class Back:
    """A listening provider, a ledger with an ``outcome``, and a mail server that delivers to it."""

    def __init__(self, protocol: str) -> None:
        self.port, self.protocol = free_port(), protocol
        self.receipts: list[Receipt] = []
        self.replies: list[Reply] = []
        self.outcome = PushOutcome.STORED
        self._stop = asyncio.Event()
        options = {
            "host": "127.0.0.1",
            "domain": "lender.example",
            "from_address": "no-reply@lender.example",
            "listen_port": self.port,
            "listen_protocol": protocol,
            "complaints_address": "abuse@lender.example",
        }
        self._provider = SmtpProvider.from_options("mail", options, {"clock": clock})

    async def start(self) -> None:
        self._task = asyncio.create_task(self._provider.listen(self._heard, self._stop))
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def stop(self) -> None:
        self._stop.set()
        await self._task

    async def _heard(self, receipts: Sequence[Receipt], replies: Sequence[Reply]) -> PushOutcome:
        if self.outcome is PushOutcome.STORED:
            self.receipts += receipts
            self.replies += replies
        return self.outcome

    async def deliver(self, raw: bytes, *recipients: str, sender: str = "") -> tuple[int, bytes]:
        """The reply to the first command that is refused, or to the mail."""
        return await asyncio.to_thread(self._deliver, raw, recipients, sender)

    def _deliver(self, raw: bytes, recipients: Sequence[str], sender: str) -> tuple[int, bytes]:
        kind = smtplib.LMTP if self.protocol == "lmtp" else smtplib.SMTP
        with kind("127.0.0.1", self.port) as client:
            client.ehlo()
            client.mail(sender)
            for recipient in recipients:
                answer = client.rcpt(recipient)
                if answer[0] >= 400:
                    return answer
            return client.data(raw)
