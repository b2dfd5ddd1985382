"""Mail as most guides send it: a connection for every message, twenty at once.

python rivals/mail.py PORT COUNT
"""

from __future__ import annotations

import asyncio
import sys
from email.message import EmailMessage

import aiosmtplib
import uvloop

_AT_ONCE = 20  # as many as the gateway's pool has connections


async def main(port: int, count: int) -> None:
    """Send ``count`` messages and end."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def send(number: int) -> None:
        message = EmailMessage()
        message["From"], message["To"] = "reminders@gateway.example.com", f"b{number}@example.com"
        message["Subject"] = "Payment reminder"
        message.set_content(f"Payment of {number}.00 USD is due.")
        message.add_alternative(f"<p>Payment of {number}.00 USD is due.</p>", subtype="html")
        async with gate:
            await aiosmtplib.send(message, hostname="127.0.0.1", port=port, start_tls=False)

    await asyncio.gather(*(send(number) for number in range(count)))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
