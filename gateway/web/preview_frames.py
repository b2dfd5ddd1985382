"""A previewed mail as a frame shows it: with a policy of its own, and in the colours that the editor asked to see.

The mail itself is what is sent, byte for byte; only which of its two styles applies is fixed here, where a mail
program would ask the reader's device.
"""

from __future__ import annotations

import re

# Nothing runs, nothing is sent, nothing is reached but pictures by TLS; and only our own page may frame it.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox"
)
SCHEMES = ("light", "dark")
_QUERY = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(light|dark)\s*\)", re.IGNORECASE)
_META = re.compile(
    r"(<meta\b[^>]*\bname=[\"']?(?:supported-)?color-schemes?[\"']?[^>]*\bcontent=[\"'])[^\"']*", re.IGNORECASE
)
_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)


def in_scheme(html: str, scheme: str) -> str:
    """The mail as a device in ``scheme`` shows it."""
    # "all" and "not all" are what the query would come to on such a device.
    fixed = _QUERY.sub(lambda found: "(min-width: 0)" if found[1].lower() == scheme else "(max-width: 0)", html)
    # A mail that says nothing about schemes is shown as written, on white: so do mail programs.
    understands = bool(_META.search(fixed))
    fixed = _META.sub(lambda found: found[1] + scheme, fixed)
    if understands:
        return fixed
    light = '<meta name="color-scheme" content="only light">'
    return _HEAD.sub(lambda found: found[0] + light, fixed, count=1) if _HEAD.search(fixed) else light + fixed
