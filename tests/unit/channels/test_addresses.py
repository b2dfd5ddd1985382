"""Address validation of each channel; a refusal never contains the address."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.base import Channel, InvalidAddress
from channels.email import CHANNEL as EMAIL
from channels.inapp import CHANNEL as INAPP
from channels.sms import CHANNEL as SMS


@pytest.mark.parametrize(
    ("channel", "given", "kept"),
    [
        (SMS, "+1 (202) 555-0123", "+12025550123"),  # fiction, NANPA
        (SMS, "+15005550006", "+15005550006"),  # Twilio's test number
        (SMS, "+44 7700 900123", "+447700900123"),  # drama, Ofcom: the plan calls it invalid
        (SMS, "+33 6 39 98 12 34", "+33639981234"),  # audiovisual works, Arcep
        (SMS, "+886 912-345-678", "+886912345678"),
        (SMS, "+8613800138000", "+8613800138000"),
        (SMS, "+91 98765 43210", "+919876543210"),
        (SMS, "+１２０２５５５０１２３", "+12025550123"),  # full-width, as typed in East Asia
        (EMAIL, "b1001@EXAMPLE.com", "b1001@example.com"),
        (EMAIL, "Chen.Mei@example.com", "Chen.Mei@example.com"),
        (EMAIL, "a@bücher.de", "a@xn--bcher-kva.de"),
        (EMAIL, "张三@例子.公司", "张三@例子.公司"),
        (INAPP, " B-1001 ", "B-1001"),
    ],
)
def test_one_spelling(channel: Channel, given: str, kept: str) -> None:
    """An address is kept in one spelling, which is its own normal form."""
    assert channel.normalise(given) == kept
    assert channel.normalise(kept) == kept


@pytest.mark.parametrize(
    ("channel", "given", "said"),
    [
        (SMS, "0912345678", "country code"),
        (SMS, "not a number", "not a phone number"),
        (SMS, "+999123456789", "country code"),
        (SMS, "+1202555012", "number of digits"),
        (SMS, "+11111111111", "not assigned"),
        (SMS, "+886223456789", "landline"),
        (SMS, "+442079460123", "landline"),
        (SMS, "+18002345678", "toll-free"),
        (SMS, "+12025550123 ext. 5", "extension"),
        (SMS, "+" + "1" * 100, "too long"),
        (SMS, "", "not a phone number"),
        (EMAIL, "chen.example.com", "@-sign"),
        (EMAIL, "chen@localhost", "domain|reserved"),
        (EMAIL, "chen@mail.invalid", "reserved"),
        (EMAIL, "ch en@example.com", "local part"),
        (EMAIL, "chen@example.com\r\nBcc: x@example.com", "domain|address"),
        (EMAIL, "x" * 300 + "@example.com", "too long"),
        (EMAIL, "", "@-sign|address"),
        (INAPP, "   ", "empty"),
        (INAPP, "B" * 129, "longer"),
        (INAPP, "B\x00", "printed"),
    ],
)
def test_what_cannot_receive_is_refused(channel: Channel, given: str, said: str) -> None:
    """A landline or a malformed address is refused now, with the reason and without the address."""
    with pytest.raises(InvalidAddress, match=said) as refused:
        channel.normalise(given)
    assert len(given) < 4 or given.strip() == "" or given not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("channel", [SMS, EMAIL, INAPP], ids=lambda channel: channel.name)
@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60) | st.from_regex(r"\+[0-9 ()-]{3,18}|[a-z.+]{1,10}@[a-z.-]{1,20}", fullmatch=True))
def test_any_text_is_kept_or_refused(channel: Channel, text: str) -> None:
    """Nothing a client types makes the check fail in another way; what is kept is stable and on one line."""
    try:
        kept = channel.normalise(text)
    except InvalidAddress:
        return
    assert channel.normalise(kept) == kept
    assert kept.isprintable()
