"""What is remembered of mail domains changes no answer."""

from __future__ import annotations

import string

from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from channels.base import InvalidAddress
from channels.email.channel import EmailChannel

_LOCAL = st.text(string.ascii_letters + string.digits + "!#$%&'*+/=?^_`{|}~-.\" @é王", min_size=0, max_size=70)
_DOMAIN = st.one_of(
    st.sampled_from(
        ["example.com", "EXAMPLE.com", "bücher.example.org", "localhost", "a.test", "[127.0.0.1]", "", "x"]
    ),
    st.text(string.ascii_letters + string.digits + "-.é", max_size=30),
)


@given(local=_LOCAL, domain=_DOMAIN)
@example(local="a" * 64, domain="é" * 60 + ".example.com")
@example(local="a" * 64, domain="b" * 60 + "." + "c" * 60 + "." + "d" * 60 + ".com")
def test_an_address_is_what_the_library_alone_says(local: str, domain: str) -> None:
    """Right or wrong, and in the same spelling, whether its domain was seen before or not."""
    address = f"{local}@{domain}"
    try:
        found = validate_email(address, check_deliverability=False)
        expected: str | None = found.ascii_email or found.normalized
    except EmailNotValidError:
        expected = None
    for _ in range(2):
        try:
            answer: str | None = EmailChannel().normalise(address)
        except InvalidAddress:
            answer = None
        assert answer == expected
