"""What a relay's refusals mean: of the mail or its recipient, or of us.

Owns telling these apart; the codes are data (``enhanced_codes.toml``). Must not know connections. Wherever it is about
us, the borrower is not at fault and nothing was sent: the mail is tried again once the configuration is mended.
"""

from __future__ import annotations

import re
import ssl

import aiosmtplib

from channels.base import ProviderReason, SendFailure, TransientFailure, UnknownOutcome
from channels.outcomes import load_table

_ENHANCED = re.compile(r"^([245]\.\d{1,3}\.\d{1,3})\b")
# About us and the relay (RFC 4954 section 6), while the enhanced code beside it, 5.7.x, sounds like the mail.
_NOT_LET_IN = frozenset({454, 530, 534, 535, 538})
_TOO_LARGE = 552  # RFC 1870 section 6.1: at MAIL that is about the message
# Relays say with 550 and 554, mostly 5.7.1, that they don't take our mail: Postfix (Relay access denied, Client host
# rejected, Sender address rejected), Exim (relay not permitted), Exchange (Unable to relay, Client was not
# authenticated), Sendmail (Relaying denied). OpenSMTPD says "Invalid recipient: <…>" of what it does not relay,
# and also of a mailbox of its own that does not exist: taking the first for the second would suppress every address.
_ABOUT_US = re.compile(
    r"relay(?:ing)?\b.{0,20}\b(?:denied|not permitted|not allowed|prohibited|rejected)|unable to relay|cannot relay"
    r"|not authenticated|authentication (?:is )?required|authenticat\w+ first|auth(?:entication)? (?:is )?needed"
    r"|must (?:first )?(?:authenticate|log ?in)|client host rejected|sender address rejected|not owned by user"
    r"|not authori[sz]ed to (?:send|use|relay)|^invalid recipient: <",
    re.IGNORECASE,
)


def refusal(refused: aiosmtplib.SMTPResponseException, *, before_recipient: bool = False) -> SendFailure:
    """What a reply to a command means. Before a recipient is named a refusal for good is about us or our sender."""
    if refused.code == -1:  # the library's mark for a reply that isn't SMTP
        return UnknownOutcome(ProviderReason.UNMAPPED)
    match = None if refused.code in _NOT_LET_IN else _ENHANCED.match(refused.message)
    outcome = load_table("channels.email", "enhanced_codes.toml").find(match[1] if match else "", str(refused.code))
    ours = _ABOUT_US.search(refused.message) or (before_recipient and refused.code != _TOO_LARGE)
    if refused.code >= 500 and ours and refused.code != 503:  # 503 is about this connection alone
        return TransientFailure(ProviderReason.PROVIDER_CONFIG, outcome.code)
    return outcome.failure()


def no_connection(error: Exception) -> TransientFailure:
    """Why there is no connection: it is about us and the relay, whatever it is, and never about a borrower."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        failure = refusal(error, before_recipient=True)
        return TransientFailure(failure.reason, failure.code)
    for each in (error, error.__cause__):
        if isinstance(each, ssl.SSLCertVerificationError):
            return TransientFailure(ProviderReason.PROVIDER_CONFIG, "certificate_not_trusted")
        if isinstance(each, ssl.SSLError):
            return TransientFailure(ProviderReason.PROVIDER_CONFIG, "tls_failed")
    if isinstance(error, aiosmtplib.SMTPTimeoutError):
        return TransientFailure(ProviderReason.TIMEOUT)
    # The bare SMTPException is how the library says that STARTTLS or login isn't offered.
    if isinstance(error, ValueError) or type(error) is aiosmtplib.SMTPException:
        return TransientFailure(ProviderReason.PROVIDER_CONFIG, type(error).__name__)
    return TransientFailure(ProviderReason.CONNECTION_FAILED)
