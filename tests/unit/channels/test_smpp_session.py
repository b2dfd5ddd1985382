"""SMPP at the level of PDUs: refused binds, forms of receipts, TLS, and unbind."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from channels.base import (
    Content,
    ProviderReason,
    PushOutcome,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from channels.sms.smpp import SmppProvider
from channels.sms.smpp_text import reference_of
from tests.support.providers.fake_servers import clock, message
from tests.support.providers.smsc import WireSmsc
from tests.support.waiting import LIMIT_SECONDS

TO = "+12025550100"
CERTIFICATES = Path(__file__).parents[2] / "support" / "certificates"
R, S = ProviderReason, ReceiptStatus
RECEIPT = "id:{id} sub:001 dlvrd:001 submit date:2611241200 done date:2611241201 stat:{state} err:000 text:x"
BIND_TRANSCEIVER, BIND_TRANSMITTER, BIND_RECEIVER, SUBMIT, UNBIND = 0x9, 0x2, 0x1, 0x4, 0x6
DELIVER_RESP, DATA_RESP = 0x80000005, 0x80000103
REFERENCE, RECEIPTED_ID, STATE, PAYLOAD = 0x0204, 0x001E, 0x0427, 0x0424


def _provider(smsc: WireSmsc, **changes: Any) -> SmppProvider:
    options = {"host": "127.0.0.1", "port": smsc.port, "system_id": "lender", "password": "secret"}
    options |= {"source_address": "+15005550006", "timeout_seconds": 20, **changes}
    return SmppProvider.from_options("smsc", options, {"clock": clock})


class HeardPdus:
    """What a listening provider handed over, and whether it could be stored."""

    def __init__(self) -> None:
        self.stored = True
        self.calls: asyncio.Queue[tuple[Sequence[Receipt], Sequence[Reply]]] = asyncio.Queue()

    async def __call__(self, receipts: Sequence[Receipt], replies: Sequence[Reply]) -> PushOutcome:
        await self.calls.put((receipts, replies))
        return PushOutcome.STORED if self.stored else PushOutcome.UNAVAILABLE

    async def next(self) -> tuple[Sequence[Receipt], Sequence[Reply]]:
        return await asyncio.wait_for(self.calls.get(), LIMIT_SECONDS)


@asynccontextmanager
async def _running(smsc: WireSmsc, **changes: Any) -> AsyncIterator[tuple[SmppProvider, HeardPdus]]:
    """A provider that is bound and listens."""
    await smsc.start()
    provider, heard, stop = _provider(smsc, **changes), HeardPdus(), asyncio.Event()
    listening = asyncio.create_task(provider.listen(heard, stop))
    await provider.check()
    try:
        yield provider, heard
    finally:
        stop.set()
        await listening
        await provider.close()
        await smsc.stop()


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (0x0D, R.PROVIDER_CONFIG, "bind_resp_0x0000000D_bind_failed"),
        (0x0E, R.PROVIDER_CONFIG, "bind_resp_0x0000000E_wrong_password"),
        (0x0F, R.PROVIDER_CONFIG, "bind_resp_0x0000000F_wrong_system_id"),
        (0x08, R.PROVIDER_UNAVAILABLE, "bind_resp_0x00000008"),
        (0x0999, R.UNMAPPED, "bind_resp_0x00000999"),
    ],
)
async def test_a_refused_bind_is_everybodys_and_nothing_is_in_doubt(
    status: int, reason: ProviderReason, code: str
) -> None:
    """Forty wait for one attempt and share its end, transient, with the SMSC's own status; the next fails at once."""
    smsc = WireSmsc(bind_status=status)
    await smsc.start()
    provider = _provider(smsc)
    ends = await asyncio.gather(*(provider.send(message(TO, n)) for n in range(40)), return_exceptions=True)
    with pytest.raises(TransientFailure) as failure:
        await provider.check()
    for end in (*ends, failure.value):
        assert isinstance(end, TransientFailure)
        assert (end.reason, end.code) == (reason, code)
    assert smsc.commands == [BIND_TRANSCEIVER]
    smsc.bind_status = 0
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                await provider.send(message(TO))
                break
            except TransientFailure as again:
                await asyncio.sleep(again.retry_after or 0.05)
    await provider.close()
    await smsc.stop()


async def test_an_smsc_that_says_nothing_is_waited_for_once() -> None:
    """Without an answer to bind all who wait fail together after one time-out, and not one after the other."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()

    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    smsc = WireSmsc(port=server.sockets[0].getsockname()[1])
    provider = _provider(smsc, timeout_seconds=0.5)
    ends = await asyncio.gather(*(provider.send(message(TO, n)) for n in range(40)), return_exceptions=True)
    assert {(type(end), getattr(end, "reason", None)) for end in ends} == {(TransientFailure, R.TIMEOUT)}
    assert len(connections) == 1
    await provider.close()
    server.close()
    for writer in connections:
        writer.close()


async def test_it_unbinds_before_it_closes() -> None:
    """Section 4.2: an SMSC that hears no unbind may count the bind as still there."""
    smsc = WireSmsc()
    async with _running(smsc):
        pass
    assert smsc.commands == [BIND_TRANSCEIVER, UNBIND]


async def test_separate_binds() -> None:
    """Where the SMSC offers no transceiver: messages go by the one, receipts come by the other."""
    smsc = WireSmsc()
    async with _running(smsc, bind="separate") as (provider, heard):
        accepted = await provider.send(message(TO))
        await smsc.deliver(RECEIPT.format(id=accepted.provider_message_id, state="DELIVRD").encode(), esm_class=4)
        [receipt] = (await heard.next())[0]
        assert receipt.provider_message_id == accepted.provider_message_id
    assert sorted(smsc.commands[:2]) == [BIND_RECEIVER, BIND_TRANSMITTER]
    assert smsc.commands.count(UNBIND) == 2


@pytest.mark.parametrize(
    ("state", "status", "reason", "code"),
    [
        ("DELIVERED", S.DELIVERED, R.DELIVERED, "DELIVERED 000"),
        ("FAILED", S.UNDELIVERED, R.UNREACHABLE, "FAILED 000"),
        ("UNDELIVERABLE", S.UNDELIVERED, R.UNREACHABLE, "UNDELIVERABLE 000"),
        ("SKIPPED", S.UNDELIVERED, R.UNREACHABLE, "SKIPPED 000"),
        ("REJECTED", S.UNDELIVERED, R.FILTERED, "REJECTED 000"),
        ("BUFFERED", S.SENT, None, "BUFFERED 000"),
        ("PONDERED", S.SENT, R.UNMAPPED, "PONDERED 000"),
        ("<script>", S.SENT, R.UNMAPPED, "000"),
    ],
)
async def test_no_receipt_vanishes(state: str, status: ReceiptStatus, reason: ProviderReason | None, code: str) -> None:
    """Whatever word an SMSC has for a state: it is understood, or recorded as what nobody has mapped."""
    smsc = WireSmsc()
    async with _running(smsc) as (_, heard):
        await smsc.deliver(RECEIPT.format(id="7", state=state).encode(), esm_class=4)
        [receipt] = (await heard.next())[0]
        assert (receipt.status, receipt.reason, receipt.code) == (status, reason, code)


async def test_a_receipt_that_names_nothing_is_handed_on_to_be_counted() -> None:
    """Without id and reference it is about no message, and the pipeline counts it as unverified."""
    smsc = WireSmsc()
    async with _running(smsc) as (_, heard):
        for text in (b"garbled", b"id:" + b"9" * 100 + b" stat:DELIVRD"):
            await smsc.deliver(text, esm_class=4)
            [receipt] = (await heard.next())[0]
            assert (receipt.provider_message_id, receipt.reference, receipt.tag) == ("", "", "")


async def test_a_receipt_with_our_reference_alone_meets_its_message() -> None:
    """user_message_reference and the number say which of the latest messages it is."""
    smsc = WireSmsc()
    async with _running(smsc) as (provider, heard):
        sent = message(TO)
        accepted = await provider.send(sent)
        reference = reference_of(sent.delivery_id, sent.attempt)
        await smsc.deliver(b"", esm_class=4, tlvs=[(REFERENCE, reference), (STATE, b"\x02")])
        [receipt] = (await heard.next())[0]
        assert (receipt.provider_message_id, receipt.status) == (accepted.provider_message_id, S.DELIVERED)


@pytest.mark.parametrize(
    ("answered", "reported"),
    [
        ("0000001234", "1234"),
        ("1234", "0000001234"),
        ("0xABCD", "abcd"),
        ("ABCD", "abcd"),
        ("0", "000"),
        ("x-1", "X-1"),
    ],
)
async def test_ids_meet_in_any_spelling(answered: str, reported: str) -> None:
    """Zero-padding, 0x and capitals are how SMSCs write one id in two ways."""
    smsc = WireSmsc(message_ids=[answered])
    async with _running(smsc) as (provider, heard):
        accepted = await provider.send(message(TO))
        await smsc.deliver(RECEIPT.format(id=reported, state="DELIVRD").encode(), esm_class=4)
        assert (await heard.next())[0][0].provider_message_id == accepted.provider_message_id != ""


async def test_a_receipt_by_data_sm_is_taken() -> None:
    """Section 4.7: the same in another PDU, all of it in optional parameters."""
    smsc = WireSmsc()
    async with _running(smsc) as (_, heard):
        await smsc.data(esm_class=4, tlvs=[(RECEIPTED_ID, b"77\0"), (STATE, b"\x05")])
        [receipt] = (await heard.next())[0]
        assert (receipt.provider_message_id, receipt.status) == ("77", S.UNDELIVERED)
        assert await asyncio.wait_for(smsc.answers.get(), LIMIT_SECONDS) == (DATA_RESP, 0)
        await smsc.data(esm_class=0, tlvs=[(PAYLOAD, b"STOP")])
        [reply] = (await heard.next())[1]
        assert (reply.text, reply.address) == ("STOP", TO)


async def test_a_receipt_that_is_not_marked_as_one_is_no_reply() -> None:
    """Some SMSCs send receipts with esm_class 0; a borrower's words that mention an id stay a reply."""
    smsc = WireSmsc()
    async with _running(smsc) as (_, heard):
        await smsc.deliver(RECEIPT.format(id="7", state="DELIVRD").encode())
        receipts, replies = await heard.next()
        assert (len(receipts), len(replies)) == (1, 0)
        await smsc.deliver(b"my id: 12345, stat")
        receipts, replies = await heard.next()
        assert (len(receipts), len(replies)) == (0, 1)


async def test_it_is_acknowledged_once_it_is_stored() -> None:
    """Until then the SMSC keeps it: a worker that dies loses nothing."""
    smsc = WireSmsc()
    async with _running(smsc) as (_, heard):
        heard.stored = False
        await smsc.deliver(b"STOP")
        await heard.next()
        await heard.next()  # handed on again
        assert smsc.answers.empty()
        heard.stored = True
        assert await asyncio.wait_for(smsc.answers.get(), LIMIT_SECONDS) == (DELIVER_RESP, 0)


async def test_nonsense_is_refused_and_the_session_goes_on() -> None:
    """A data_sm cut short gets an error status, and the next PDU is read."""
    smsc = WireSmsc()
    async with _running(smsc) as (_, heard):
        await smsc._send(bytes.fromhex("000000120000010300000000000000094141"))
        assert (await asyncio.wait_for(smsc.answers.get(), LIMIT_SECONDS))[1] != 0
        await smsc.deliver(b"STOP")
        assert (await heard.next())[1][0].text == "STOP"


async def test_a_throttled_later_part_is_submitted_again() -> None:
    """The SMSC has the first part already: the second waits a moment, and nothing ends in review."""
    smsc = WireSmsc(submit_statuses=[0, 0x58, 0x58, 0])
    async with _running(smsc) as (provider, _):
        await provider.send(message(TO, content=Content("a" * 200)))
        assert len(smsc.submitted) == 2
        smsc.submit_statuses = [0x58]  # of the first part nothing is there yet
        with pytest.raises(TransientFailure):
            await provider.send(message(TO, 2, content=Content("a" * 200)))
        smsc.submit_statuses = [0, 0x0B]
        with pytest.raises(UnknownOutcome):
            await provider.send(message(TO, 3, content=Content("a" * 200)))


async def test_numbering_can_be_set() -> None:
    """Some SMSCs want a national number, or no plan at all."""
    smsc = WireSmsc()
    async with _running(smsc, source_ton=0, source_npi=8, dest_ton=2, dest_npi=0) as (provider, _):
        await provider.send(message(TO))
        [pdu] = smsc.submitted
        found = (pdu.source_addr_ton, pdu.source_addr_npi, pdu.dest_addr_ton, pdu.dest_addr_npi)
        assert found == (0, 8, 2, 0)


def _server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "loopback-cert.pem", CERTIFICATES / "loopback-key.pem")
    return context


async def test_tls_with_a_private_ca() -> None:
    """With its certificate it works; without, it is said that the certificate isn't trusted, and nothing is sent."""
    smsc = WireSmsc(tls=_server_tls())
    async with _running(smsc, tls="yes", ca_file=str(CERTIFICATES / "loopback-cert.pem")) as (provider, _):
        assert (await provider.send(message(TO))).provider_message_id
        stranger = _provider(smsc, tls="yes")
        with pytest.raises(SendFailure) as failure:
            await stranger.send(message(TO))
        assert (failure.value.reason, failure.value.code) == (R.PROVIDER_CONFIG, "certificate_not_trusted")
        await stranger.close()


@pytest.mark.parametrize(
    ("host", "tls"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("smsc.example", True), ("10.0.0.1", True)],
)
def test_tls_is_the_default_but_on_this_machine(host: str, tls: bool) -> None:
    """The password and the numbers go over this connection: in clear only where nobody is in between, or on purpose."""
    assert (_provider(WireSmsc(port=1), host=host)._endpoint.tls is not None) is tls
    assert _provider(WireSmsc(port=1), host=host, tls="no")._endpoint.tls is None


@pytest.mark.parametrize(("content", "what"), [(None, "can't be read"), ("no PEM", "has no certificate in PEM")])
def test_a_missing_ca_file_stops_the_start(tmp_path: Path, content: str | None, what: str) -> None:
    """It is named, with what is wrong with it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=rf"smsc.*ca_file {what}"):
        _provider(WireSmsc(port=1), tls="yes", ca_file=str(path))
