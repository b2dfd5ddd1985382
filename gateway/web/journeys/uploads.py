"""A form with a file (multipart/form-data, RFC 7578), split in one pass and within limits.

A general parser of mail spends seconds on many or nested parts. A form has a few, and none of them is nested.
"""

from __future__ import annotations

from email.message import Message
from email.parser import HeaderParser

# Our choices: the page's form has seven parts, and browsers' headers of a part take some 200 bytes.
_MOST_PARTS = 20
_MOST_HEADER_BYTES = 2_000
_MOST_FIELD_BYTES = 200
_MOST_TYPE_LENGTH = 300


def read_form_with_file(content_type: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """The fields, the first of each name, and the content of the part named ``file``. Raises ValueError."""
    delimiter = b"\r\n--" + _boundary(content_type)
    _, *pieces = (b"\r\n" + body).split(delimiter, _MOST_PARTS + 1)
    if not pieces or len(pieces) > _MOST_PARTS or not pieces[-1].startswith(b"--"):
        raise ValueError("no form, or one with too many parts")
    fields: dict[str, str] = {}
    file = b""
    for piece in pieces[:-1]:
        head, found, content = piece.partition(b"\r\n\r\n")
        if not found or len(head) > _MOST_HEADER_BYTES:
            raise ValueError("a part without its headers")
        headers = HeaderParser().parsestr(head.decode("utf-8", "replace").strip())
        name = headers.get_param("name", header="content-disposition")
        if name == "file":
            file = content
        elif isinstance(name, str):
            fields.setdefault(name, content[:_MOST_FIELD_BYTES].decode("utf-8", "replace"))
    return fields, file


def _boundary(content_type: str) -> bytes:
    """The boundary of a form's parts. Raises ValueError."""
    described = Message()
    described["Content-Type"] = content_type if len(content_type) <= _MOST_TYPE_LENGTH else ""
    boundary = described.get_boundary()
    if described.get_content_type() != "multipart/form-data" or not boundary:
        raise ValueError("not multipart/form-data")
    return boundary.encode("ascii")
