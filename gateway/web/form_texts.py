"""The form fields that carry texts, each with a digest of the text as displayed, which tells what was changed."""

from __future__ import annotations

import hashlib

FIELD = "f."  # prefix of the form fields with texts
SEEN = "seen."  # prefix of the fields with the digest of each text as it was displayed
_DIGEST = 16  # hex digits; our choice: enough to detect a change of a text


def digest(text: str) -> str:
    """A short digest of a text, to detect changes."""
    return hashlib.sha256(text.removesuffix("\n").encode()).hexdigest()[:_DIGEST]
