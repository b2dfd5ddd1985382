"""What a phone number must look like to get messages, on whatever channel.

Must not know any channel.
"""

from __future__ import annotations

import re

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType, ValidationResult

from channels.base import InvalidAddress

# Ranges set aside for fiction and tests. The numbering plan calls some of them invalid, and yet they are what
# examples, demos and provider test accounts must use, because no borrower can ever hold one.
_RESERVED = re.compile(
    r"\+1\d{3}55501\d{2}"  # NANPA: 555-0100 to 555-0199 in every area code
    r"|\+1500555\d{4}"  # Twilio's magic test numbers
    r"|\+447700900\d{3}"  # Ofcom: numbers for drama, mobile
    r"|\+336399[89]\d{4}"  # Arcep: 06 39 98/99, audiovisual works
)

# Lines that cannot take a text message, or are never a person's. In the United States and Canada landlines and
# mobiles share their ranges (FIXED_LINE_OR_MOBILE), so there only the provider can tell.
_REFUSED = {
    PhoneNumberType.FIXED_LINE: "a landline",
    PhoneNumberType.TOLL_FREE: "a toll-free number",
    PhoneNumberType.PREMIUM_RATE: "a premium-rate number",
    PhoneNumberType.SHARED_COST: "a shared-cost number",
    PhoneNumberType.UAN: "a company number",
    PhoneNumberType.VOICEMAIL: "a voicemail number",
    PhoneNumberType.PAGER: "a pager",
}

# E.164 has 15 digits at most; the rest is room for separators. Longer input isn't worth parsing.
_LONGEST = 40


def normalise(address: str) -> str:
    """The number in E.164. Raises InvalidAddress."""
    if len(address) > _LONGEST:
        raise InvalidAddress("is too long for a phone number")
    try:
        # No default region: guessing a country would text a stranger.
        number = phonenumbers.parse(address, None)
    except NumberParseException as error:
        if error.error_type == NumberParseException.INVALID_COUNTRY_CODE:
            raise InvalidAddress("must begin with + and a country code") from None
        raise InvalidAddress("is not a phone number") from None
    if number.extension:
        raise InvalidAddress("has an extension: a switchboard takes no text messages")
    e164: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if _RESERVED.fullmatch(e164):
        return e164
    kind = phonenumbers.number_type(number)  # UNKNOWN is what the library calls not valid
    if kind == PhoneNumberType.UNKNOWN:
        if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
            raise InvalidAddress("has the wrong number of digits for its country")
        raise InvalidAddress("is in a range that its country has not assigned")
    if refused := _REFUSED.get(kind):
        raise InvalidAddress(f"is {refused}")
    return e164
