"""The gateway's SMTP provider by itself, as rivals/mail.py does it with a connection for each message.

    python mailing.py PORT COUNT

The same words to as many people, as many at once; headers, bounce address and receipts are the gateway's own.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import uvloop

from channels.base import Content, Message
from channels.email.smtp import SmtpProvider

_OPTIONS = {"host": "127.0.0.1", "tls": "none", "domain": "gateway.example.com"}


def _message(number: int) -> Message:
    words = f"Payment of {number}.00 USD is due."
    return Message(
        delivery_id=f"dlv_{number:032x}",
        attempt=1,
        tenant="bench",
        borrower_id=f"B-{number}",
        address=f"b{number}@example.com",
        content=Content(words, "Payment reminder", f"<p>{words}</p>"),
        reference=f"dlv_{number:032x}.1.0123456789abcdef",
        callback_url="",
        valid_until=None,
        category="collections",
    )


async def main(port: int, count: int) -> None:
    """Send ``count`` messages and end."""
    options = {**_OPTIONS, "port": port, "from_address": "reminders@gateway.example.com"}
    provider = SmtpProvider.from_options("mail", options, {"clock": lambda: datetime.now(UTC)})
    gate = asyncio.Semaphore(provider.capability.concurrency)

    async def send(number: int) -> None:
        async with gate:
            await provider.send(_message(number))

    await asyncio.gather(*(send(number) for number in range(count)))
    await provider.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
