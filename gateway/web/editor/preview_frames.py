"""Serves a previewed e-mail for a frame, with its own content security policy and a selected colour scheme.

The e-mail is the one that is sent, byte for byte, except for its media queries for the colour scheme, which are fixed
here instead of by the reader's device.
"""

from __future__ import annotations

import re

from gateway.templates.rendering.mail_clients import CLIENTS, as_client

# No scripts, no forms, no requests but images by https; only pages of this site may frame it.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox"
)
SCHEMES = ("light", "dark", *CLIENTS)
_QUERY = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(light|dark)\s*\)", re.IGNORECASE)
_META = re.compile(
    r"(<meta\b[^>]*\bname=[\"']?(?:supported-)?color-schemes?[\"']?[^>]*\bcontent=[\"'])[^\"']*", re.IGNORECASE
)
_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)


def in_scheme(html: str, scheme: str) -> str:
    """The e-mail as a device with the colour ``scheme`` shows it, or as a mail program does that leaves things out."""
    if scheme in CLIENTS:
        html, scheme = as_client(html, scheme), "light"
    # "all" and "not all" are the results of the query on such a device.
    fixed = _QUERY.sub(lambda found: "(min-width: 0)" if found[1].lower() == scheme else "(max-width: 0)", html)
    # Without media queries an e-mail is shown unchanged on white, as mail programs do.
    understands = bool(_META.search(fixed))
    fixed = _META.sub(lambda found: found[1] + scheme, fixed)
    if understands:
        return fixed
    light = '<meta name="color-scheme" content="only light">'
    return _HEAD.sub(lambda found: found[0] + light, fixed, count=1) if _HEAD.search(fixed) else light + fixed
