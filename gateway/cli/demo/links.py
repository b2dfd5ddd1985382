"""What the demo prints at its end: where to look, as whom, and how to call it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from gateway.cli.demo.access import PEOPLE, DemoAccess


def lines(
    url: str, access: DemoAccess, *, borrower: str, feed_token: str, metrics_port: int, notification: str
) -> Iterator[str]:
    """The lines. ``borrower`` and ``notification`` are those of the first message sent; "" where there is none."""
    yield "It stays up; Ctrl-C stops it. Start here:"
    yield f"  {url}/"
    yield ""
    yield f"Pages, all with the password {access.password}"
    for email, _, role, path in PEOPLE:
        yield f"  {url + path:<32} as {email} ({role})"
    if borrower:
        yield "The first message that was sent, with its words and why it was permitted"
        yield f"  {url}/desk/borrowers/{quote(borrower, safe='')}"
    if feed_token:
        yield "A borrower's inbox"
        yield f"  {url}/inbox#token={feed_token}"
    yield "The API, with examples that work here"
    yield f"  {url}/docs"
    if metrics_port:
        yield f"  http://127.0.0.1:{metrics_port}/metrics has the figures"
    yield "From another terminal"
    yield f"  export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    yield f"  export GATEWAY_URL={url} GATEWAY_API_KEY={access.api_key}"
    if notification:
        yield f"  gateway show {notification}    # the words, and when they were handed over"
    yield "  gateway notifications --state suppressed   # what was not sent, and why"
    yield "  gateway journey demo shows a case go from its first day to the gate before the legal step, in a minute"
    yield "Webhooks may be sent to this machine: gateway webhook create http://127.0.0.1:PORT/…"
