"""Makes the addresses that stand in a text clickable: in the HTML of e-mails, and on pages.

Must not know a template or a channel.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from html import unescape

# An address of the web up to what can't be in one (RFC 3986), or is the punctuation of a Chinese sentence.
_URL = re.compile(r"https?://[^\s<>\"'`{}|\\^（）〔〕【】《》「」『』，。、；：！？…\u3000]+")
_TRAILING = ".,;:!?"  # of the sentence, and not of the address
# The parts of a document in which nothing is replaced: tags, comments, and the contents of these elements.
_CLOSED = re.compile(r"<!--.*?-->|<(a|style|script|title|head)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def urls_in(text: str) -> Iterator[tuple[int, int]]:
    """Where the addresses stand in a text: begin and end of each."""
    for found in _URL.finditer(text):
        url = found[0].rstrip(_TRAILING)
        while url.endswith(")") and url.count(")") > url.count("("):  # the sentence's own parenthesis
            url = url[:-1].rstrip(_TRAILING)
        yield found.start(), found.start() + len(url)


def with_links(html: str, untrusted: Collection[str] = ()) -> str:
    """The document with its bare addresses as links. Those that occur in an ``untrusted`` text stay as they are.

    What stands in a document is escaped already, so an address is a valid attribute as it is.
    """
    made, at = [], 0
    for closed in _CLOSED.finditer(html):
        made += [_linked(html[at : closed.start()], untrusted), closed[0]]
        at = closed.end()
    return "".join([*made, _linked(html[at:], untrusted)])


def _linked(text: str, untrusted: Collection[str]) -> str:
    if "://" not in text:
        return text
    made, at = [], 0
    for begins, ends in urls_in(text):
        url = text[begins:ends]
        if not any(unescape(url) in each for each in untrusted):
            made += [text[at:begins], f'<a href="{url}">{url}</a>']
            at = ends
    return "".join([*made, text[at:]])
