"""What Twilio's API looks like from outside: its resources, errors, filters and signatures. For the simulator.

Owns shapes only; what happens to a message is the simulator's. Must not know the gateway.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web


@dataclass(slots=True)
class Stored:
    """A message as the simulator keeps it."""

    sid: str
    to: str
    sender: str
    body: str
    callback: str
    reference: str
    created: datetime
    status: str = "queued"
    error: int | None = None
    sent: datetime | None = None


def resource(account_sid: str, stored: Stored) -> dict[str, Any]:
    """The Message resource."""
    return {
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "body": stored.body,
        "date_created": format_datetime(stored.created),
        "date_sent": format_datetime(stored.sent) if stored.sent else None,
        "date_updated": format_datetime(stored.sent or stored.created),
        "direction": "outbound-api",
        "error_code": stored.error,
        "error_message": None,
        "from": stored.sender,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "sid": stored.sid,
        "status": stored.status,
        "subresource_uris": {},
        "to": stored.to,
        "uri": f"/2010-04-01/Accounts/{account_sid}/Messages/{stored.sid}.json",
    }


def sign(auth_token: str, url: str, params: Mapping[str, str]) -> str:
    """Twilio's signature: HMAC-SHA1 over the URL and every parameter's name and value, sorted by name.

    Written out here rather than taken from the SDK, so that the two check each other.
    """
    text = url + "".join(name + params[name] for name in sorted(params))
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def error(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as Twilio words it."""
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.json_response(body, status=status, headers=headers)


def dates_match(stored: Stored, query: Mapping[str, str]) -> bool:
    """Whether a message passes the DateSent filters of a list; one without DateSent passes none."""
    wanted = {name: query[name][:10] for name in ("DateSent", "DateSent<", "DateSent>") if name in query}
    if not wanted:
        return True
    if stored.sent is None:
        return False
    day = stored.sent.date().isoformat()
    return (
        wanted.get("DateSent", day) == day
        and day <= wanted.get("DateSent<", day)
        and day >= wanted.get("DateSent>", day)
    )
