"""The e-mail channel: what an address must look like, and which providers there are.

Must not know how any provider talks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from email_validator import EmailNotValidError, EmailSyntaxError, ValidatedEmail, validate_email

from channels.base import InvalidAddress, Provider
from channels.options import build_provider
from channels.profile import ChannelProfile, Frame, Part, PartKind, Wording

# The class of each kind of provider; a new provider is a file and a line here.
PROVIDERS: Mapping[str, str] = {"smtp": "channels.email.smtp:SmtpProvider"}

_LONGEST = 254  # octets in a path, RFC 5321 section 4.5.3.1.3, less its angle brackets

# A dot-atom (RFC 5322 section 3.2.3) of at most 64 octets (RFC 5321 section 4.5.3.1.1): such a local part is right
# by itself, and most are. Its domain is one of few, so that what the library says of one is remembered: together
# two thirds of what checking an address costs (measured).
_PLAIN = re.compile(r"(?=.{1,64}$)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAINS = 4096  # remembered at once; our choice


_BLANK_MJML = """\
<mjml lang="{{ locale }}">
<mj-head>
<mj-title>{{ lender.name }}</mj-title>
<mj-preview></mj-preview>
</mj-head>
<mj-body>
<mj-section>
<mj-column>
<mj-text>{{ borrower.name }},</mj-text>
<mj-text></mj-text>
<mj-text>{{ lender.name }}</mj-text>
</mj-column>
</mj-section>
</mj-body>
</mjml>
"""

_LONGEST_SUBJECT = 78  # characters, RFC 5322 section 2.1.1

_BLANK_MARKDOWN = "{{ borrower.name }},\n\n\n\n{{ lender.name }}\n"
_SUBJECT = Part(
    "email.subject.liquid",
    "subject",
    Wording("Subject", "主题"),
    blank="{{ lender.name }}\n",
    longest=_LONGEST_SUBJECT,
    public=True,
)

PROFILE = ChannelProfile(
    title=Wording("E-mail", "电子邮件"),
    noun=Wording("the e-mail", "电子邮件"),
    parts=(
        _SUBJECT,
        Part(
            "email.txt.liquid",
            "text",
            Wording("Plain text", "纯文本"),
            blank="{{ borrower.name }},\n\n\n\n{{ lender.name }}\n",
        ),
        Part("email.mjml.liquid", "html", Wording("Layout (MJML)", "排版（MJML）"), PartKind.MJML, _BLANK_MJML),
    ),
    written=(
        _SUBJECT,
        Part("email.preview.liquid", "preview", Wording("Line beside the subject", "主题旁的摘要"), public=True),
        Part("email.md.liquid", "message", Wording("Message", "正文"), PartKind.MARKDOWN, _BLANK_MARKDOWN),
    ),
    frame=Frame.MAIL,
    unsubscribe_link=True,
)


class EmailChannel:
    """Messages to a mailbox."""

    name = "email"
    kinds: tuple[str, ...] = tuple(PROVIDERS)
    profile = PROFILE

    def normalise(self, address: str) -> str:
        """The address with its domain in lower case, in ASCII where that is possible. Raises InvalidAddress.

        The local part stays as it is: only its own server knows whether case matters (RFC 5321 section 2.4).
        """
        if len(address) > _LONGEST:
            raise InvalidAddress("is too long for an e-mail address")
        try:
            local, _, domain = address.rpartition("@")
            if _PLAIN.fullmatch(local) and len(plain := f"{local}@{_domain(domain)}") <= _LONGEST:
                return plain
            found = _validated(address)
        except EmailSyntaxError as error:
            raise InvalidAddress(_reason(error)) from None
        except EmailNotValidError:
            raise InvalidAddress("is not an e-mail address") from None
        return found.ascii_email or found.normalized

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """See ``channels.base.Channel``."""
        return build_provider(self.name, PROVIDERS, kind, name, options, services)


def _validated(address: str) -> ValidatedEmail:
    # No DNS here: accepting a request must not wait for it, and the relay finds out anyway.
    return validate_email(address, check_deliverability=False)


@lru_cache(_DOMAINS)
def _domain(domain: str) -> str:
    """A domain as it is written. Raises what the library raises; that is not remembered."""
    found = _validated(f"a@{domain}")
    return found.ascii_domain or found.domain


def _reason(error: EmailSyntaxError) -> str:
    # The library's messages may quote characters of the address, so only what they are about is kept.
    text = str(error)
    if "special-use" in text:
        return "is at a domain reserved for other uses"
    if "@-sign" in text and "must have" in text:
        return "has no @-sign"
    if "after the @-sign" in text:
        return "has a malformed domain"
    if "before the @-sign" in text:
        return "has a malformed local part"
    return "is not an e-mail address"
