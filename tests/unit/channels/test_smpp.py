"""SMS over SMPP 3.4 with a real SMSC on loopback: submission, segmentation, receipts, replies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import (
    Content,
    PermanentFailure,
    ProviderReason,
    PushOutcome,
    Receipt,
    ReceiptStatus,
    Reply,
    TransientFailure,
    UnknownOutcome,
)
from channels.sms.smpp import SmppProvider
from channels.sms.smpp_text import GSM, HAS_HEADER, UCS_2, decoded, parts, read_receipt, validity
from gateway.templates.rendering.sms_segments import segments
from tests.chaos.harness.proxy import Mode, Proxy
from tests.support.providers.fake_servers import clock, closed_port, message
from tests.support.providers.smsc import Smsc
from tests.support.waiting import LIMIT_SECONDS

GOOD, BAD, BUSY, SILENT, LOST = (f"+120255501{last}" for last in ("00", "95", "96", "94", "99"))


@pytest.fixture
async def smsc() -> AsyncIterator[Smsc]:
    started = Smsc()
    await started.start()
    yield started
    await started.stop()


def _provider(port: int, **changes: Any) -> SmppProvider:
    options = {
        "host": "127.0.0.1",
        "port": port,
        "system_id": "lender",
        "password": "secret",
        "source_address": "+15005550006",
        "timeout_seconds": 1,
        **changes,
    }
    return SmppProvider.from_options("smsc", options, {"clock": clock})


class Listening:
    """What a provider heard, with a ledger that can be down."""

    def __init__(self, provider: SmppProvider) -> None:
        self.receipts: list[Receipt] = []
        self.replies: list[Reply] = []
        self.down = 0
        self.stop = asyncio.Event()
        self._came = asyncio.Condition()
        self._task = asyncio.create_task(provider.listen(self._heard, self.stop))

    async def _heard(self, receipts: Sequence[Receipt], replies: Sequence[Reply]) -> PushOutcome:
        if self.down:
            self.down -= 1
            return PushOutcome.UNAVAILABLE
        async with self._came:
            self.receipts += receipts
            self.replies += replies
            self._came.notify_all()
        return PushOutcome.STORED

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(LIMIT_SECONDS), self._came:
            await self._came.wait_for(lambda: len(self.receipts) + len(self.replies) >= count)

    async def end(self) -> None:
        self.stop.set()
        await self._task


async def _sent(provider: SmppProvider, number: int) -> None:
    """Send when the pause after failed attempts to bind is over."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                await provider.send(message(GOOD, number))
            except TransientFailure as failure:
                await asyncio.sleep(failure.retry_after or 0.05)
            else:
                return


async def test_a_message_arrives_with_its_addresses_andvalidity(smsc: Smsc) -> None:
    """The number goes without its plus, as an international one, and with the time that is left."""
    provider = _provider(smsc.port)
    accepted = await provider.send(message(GOOD, valid_until=clock() + timedelta(hours=2)))
    [event] = smsc.submitted
    assert (event.destination_addr, event.dest_addr_ton, event.dest_addr_npi) == ("12025550100", 1, 1)
    assert (event.source_addr, event.source_addr_ton, event.registered_delivery) == ("15005550006", 1, 1)
    assert accepted.provider_message_id == "1000001"
    await provider.close()


@pytest.mark.parametrize(
    ("address", "failure", "reason"),
    [
        (BAD, PermanentFailure, ProviderReason.INVALID_ADDRESS),
        (BUSY, TransientFailure, ProviderReason.RATE_LIMITED),
        (SILENT, UnknownOutcome, ProviderReason.TIMEOUT),
    ],
)
async def test_answers_mean_what_the_table_says(
    smsc: Smsc, address: str, failure: type[Exception], reason: ProviderReason
) -> None:
    """Refused, throttled, and taken without an answer are told apart."""
    provider = _provider(smsc.port)
    with pytest.raises(failure) as raised:
        await provider.send(message(address))
    assert raised.value.reason is reason  # type: ignore[attr-defined]
    await provider.close()


async def test_a_connection_that_was_lost_is_made_again(smsc: Smsc) -> None:
    """While the SMSC is away nothing is in doubt, and when it is back the next message goes through."""
    link = Proxy("smsc", lambda: asyncio.open_connection("127.0.0.1", smsc.port))
    await link.start()
    provider = _provider(link.port)
    await provider.send(message(GOOD))
    link.set(Mode.CUT)

    session = await provider._transmitter.session()
    await session.lost.wait()
    for number in (2, 3):
        with pytest.raises(TransientFailure):
            await provider.send(message(GOOD, number))
    link.set(Mode.PASS)
    await _sent(provider, 4)
    assert len(smsc.submitted) == 2
    await provider.close()
    await link.stop()


async def test_a_connection_on_which_nothing_is_answered_is_made_anew(smsc: Smsc) -> None:
    """Half-open: after some silence the provider binds again instead of waiting for ever."""
    link = Proxy("smsc", lambda: asyncio.open_connection("127.0.0.1", smsc.port))
    await link.start()
    provider = _provider(link.port, timeout_seconds=0.2)
    await provider.send(message(GOOD))
    link.set(Mode.MUTE)
    for number in range(2, 7):
        with pytest.raises(UnknownOutcome):
            await provider.send(message(GOOD, number))
    link.mode = Mode.PASS  # what hangs goes on hanging: only a new connection is of use
    await provider.send(message(GOOD, 9))
    assert len(smsc.submitted) == 2
    await provider.close()
    await link.stop()


@pytest.mark.parametrize("tlvs", [False, True])
@pytest.mark.parametrize("hexadecimal", [False, True])
async def test_receipts_meet_their_message(tlvs: bool, hexadecimal: bool) -> None:
    """By text or optional parameters, with the id in decimal or hexadecimal, the receipt has the response's id."""
    smsc = Smsc(hex_receipts=hexadecimal, tlvs=tlvs)
    await smsc.start()
    provider = _provider(smsc.port, message_ids="receipt_hex" if hexadecimal else "as_is")
    listening = Listening(provider)
    arrived, lost = await provider.send(message(GOOD)), await provider.send(message(LOST, 2))
    await listening.wait(2)
    found = {each.provider_message_id: (each.status, each.reason) for each in listening.receipts}
    assert found == {
        arrived.provider_message_id: (ReceiptStatus.DELIVERED, ProviderReason.DELIVERED),
        lost.provider_message_id: (ReceiptStatus.UNDELIVERED, ProviderReason.UNREACHABLE),
    }
    await listening.end()
    await provider.close()
    await smsc.stop()


async def test_a_response_in_hexadecimal_meets_a_receipt_in_decimal() -> None:
    """The other habit of SMSCs: the id of submit_sm_resp is hexadecimal, the receipt's is decimal."""
    smsc = Smsc(hex_responses=True)
    await smsc.start()
    provider = _provider(smsc.port, message_ids="response_hex")
    listening = Listening(provider)
    answer = await provider.send(message(GOOD))
    await listening.wait(1)
    assert listening.receipts[0].provider_message_id == answer.provider_message_id
    await listening.end()
    await provider.close()
    await smsc.stop()


async def test_a_receipt_is_known_by_our_reference_and_its_number(smsc: Smsc) -> None:
    """The tag under which a look-up expects it is the receipt's, and no other message's, attempt's or number's."""
    provider = _provider(smsc.port)
    listening = Listening(provider)
    sent = message(SILENT)
    with pytest.raises(UnknownOutcome):
        await provider.send(sent)
    await smsc.report(1_000_001, "DELIVRD", smsc.submitted[0])
    await listening.wait(1)
    assert listening.receipts[0].tag == (await provider.lookup(sent, "", clock())).tag != ""
    others = [message(SILENT, 2), message(SILENT, attempt=2), message(GOOD)]
    tags = {(await provider.lookup(each, "", clock())).tag for each in (sent, *others)}
    assert len(tags) == 4
    assert not any(SILENT[-7:] in tag for tag in tags)
    await listening.end()
    await provider.close()


async def test_no_reference_goes_where_the_smsc_refuses_it(smsc: Smsc) -> None:
    """The option leaves the parameter out, and then no receipt is waited for by it."""
    provider = _provider(smsc.port, references="no")
    await provider.send(message(GOOD))
    assert smsc.submitted[0].tlvs == []
    assert (await provider.lookup(message(GOOD), "", clock())).tag == ""
    await provider.close()


@pytest.mark.parametrize("tlvs", [False, True])
async def test_every_state_of_a_message_has_its_meaning(tlvs: bool) -> None:
    """Whatever an SMSC says of a message (SMPP 3.4 section 5.2.28), in its text or in an optional parameter."""
    smsc = Smsc(tlvs=tlvs)
    await smsc.start()
    provider = _provider(smsc.port)
    listening = Listening(provider)
    answer = await provider.send(message(GOOD))
    states = ["ENROUTE", "ACCEPTD", "EXPIRED", "DELETED", "UNDELIV", "REJECTD", "UNKNOWN"]
    await listening.wait(1)
    for state in states:
        await smsc.report(int(answer.provider_message_id), state)
    await listening.wait(1 + len(states))
    sent, undelivered = ReceiptStatus.SENT, ReceiptStatus.UNDELIVERED
    assert [(each.status, each.reason) for each in listening.receipts] == [
        (ReceiptStatus.DELIVERED, ProviderReason.DELIVERED),
        (sent, None),
        (sent, None),
        (undelivered, ProviderReason.UNREACHABLE),
        (undelivered, ProviderReason.BLOCKED),
        (undelivered, ProviderReason.UNREACHABLE),
        (undelivered, ProviderReason.FILTERED),
        (undelivered, ProviderReason.UNMAPPED),
    ]
    await listening.end()
    await provider.close()
    await smsc.stop()


async def test_what_could_not_be_stored_is_handed_on_again(smsc: Smsc, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SMSC has been told that we have it, so a ledger that is away is waited for."""
    monkeypatch.setattr("channels.sms.smpp.FIRST_PAUSE", 0.01)
    provider = _provider(smsc.port)
    listening = Listening(provider)
    listening.down = 3
    await provider.send(message(GOOD))
    await listening.wait(1)
    assert (listening.down, len(listening.receipts)) == (0, 1)
    await listening.end()
    await provider.close()


async def test_replies_are_heard_in_either_alphabet(smsc: Smsc) -> None:
    """What borrowers write comes with their number; the same words twice are two replies."""
    provider = _provider(smsc.port)
    listening = Listening(provider)
    await provider.send(message(GOOD))
    await smsc.says(b"STOP")
    await smsc.says(b"STOP")
    await smsc.says("退订".encode("utf-16-be"), UCS_2)
    await listening.wait(4)
    assert [(each.address, each.text) for each in listening.replies] == [
        ("+12025550100", "STOP"),
        ("+12025550100", "STOP"),
        ("+12025550100", "退订"),
    ]
    assert len({each.provider_message_id for each in listening.replies}) == 3
    await listening.end()
    await provider.close()


async def test_a_long_message_goes_in_parts_with_one_receipt(smsc: Smsc) -> None:
    """Each part is a message to the SMSC; the last one's receipt stands for the whole."""
    provider = _provider(smsc.port)
    listening = Listening(provider)
    text = "逾期提醒" * 40
    accepted = await provider.send(message(GOOD, content=Content(text)))
    await listening.wait(1)
    assert [event.registered_delivery for event in smsc.submitted] == [0, 0, 1]
    assert [bytes(event.short_message)[:6] for event in smsc.submitted] == [
        bytes((5, 0, 3, smsc.submitted[0].short_message[3], 3, number)) for number in (1, 2, 3)
    ]
    joined = "".join(decoded(UCS_2, event.esm_class, bytes(event.short_message)) for event in smsc.submitted)
    assert joined == text
    assert [each.provider_message_id for each in listening.receipts] == [accepted.provider_message_id]
    await listening.end()
    await provider.close()


async def test_nothing_there_is_transient() -> None:
    """No SMSC at that port: nothing was sent, and it may be tried again."""
    with pytest.raises(TransientFailure):
        await _provider(await closed_port()).send(message(GOOD))


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("a" * 160, [160]),
        ("a" * 161, [159, 14]),
        ("€" * 80, [160]),
        ("a" * 152 + "€" + "a" * 7, [158, 15]),  # the euro's two septets stay together
        ("中" * 70, [140]),
        ("中" * 71, [140, 14]),
        ("中" * 66 + "😀" + "中" * 4, [138, 18]),  # so does the surrogate pair
        ("", [0]),
    ],
)
def test_parts_break_where_a_phone_can_join_them(text: str, lengths: list[int]) -> None:
    """160/153 septets and 70/67 code units (TS 23.040), and no character is torn apart."""
    assert [len(part.octets) for part in parts(text, 7)] == lengths


def test_every_character_is_counted_as_it_is_sent() -> None:
    """For all of Unicode's first plane, the counter and the wire agree on which alphabet a character needs."""
    everything = (chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    codings = {"GSM-7": GSM, "UCS-2": UCS_2}
    assert [each for each in everything if parts(each, 1)[0].data_coding != codings[segments(each).encoding]] == []


@given(st.text(max_size=400))
def test_parts_are_as_many_as_are_counted_and_join_to_the_text(text: str) -> None:
    """The template's segment counter and the wire agree, and nothing is lost between the parts."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    made = parts(text, 1)
    assert len(made) == max(1, segments(text).segments)
    assert {part.data_coding for part in made} <= {GSM, UCS_2}
    octets = b"".join(part.octets[6:] if part.esm_class & HAS_HEADER else part.octets for part in made)
    assert decoded(made[0].data_coding, 0, octets) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id:0A1B sub:001 dlvrd:000 submit date:x done date:y stat:EXPIRED err:027 text:", ("0A1B", "EXPIRED", "027")),
        ("ID:7 STAT:delivrd", ("7", "DELIVRD", "")),
        ("id: 12 stat: UNDELIV err: 1", ("12", "UNDELIV", "1")),
        ("hello", ("", "", "")),
    ],
)
def test_receipt_texts(text: str, expected: tuple[str, str, str]) -> None:
    """Appendix B's form, with what SMSCs make of it."""
    found = read_receipt(text)
    assert (found.message_id, found.state, found.error) == expected


def test_validity_is_a_relative_time() -> None:
    """SMPP 3.4 section 7.1.1: days, hours, minutes and seconds from now, marked R."""
    now = clock()
    texts = [validity(now + timedelta(seconds=seconds), now) for seconds in (90, 86_400 + 3661, 10**7)]
    assert texts == ["000000000130000R", "000001010101000R", "000030000000000R"]
    assert all(re.fullmatch(r"\d{15}R", text) for text in texts)
    assert validity(None, now) == ""
