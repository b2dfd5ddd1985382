"""What is stored shortly, or in full while the version before may read it: the same is read in either case."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from channels.base import Accepted, Receipt, ReceiptStatus
from gateway.core.deliveries import ReceiptFor
from gateway.storage.database import Database
from gateway.storage.events import link, linked
from gateway.storage.packing.event_details import packed, unpacked
from gateway.storage.packing.words import deflated, inflated
from gateway.storage.reads import Reads
from gateway.storage.tables.path import events
from tests.support.storage.ledgers import NOW, draft, ended, outgoing, store_on
from tests.support.storage.settling import RECORDER

_SENT = Receipt("twilio", ReceiptStatus.SENT, "SM-k1")
_DELIVERED = Receipt("twilio", ReceiptStatus.DELIVERED, "SM-k1")


async def _life(database: Database, *, before: bool) -> str:
    """A reminder that was accepted, sent and reported sent; ``before``: stored as the version before reads it."""
    store = store_on(database)
    database.backward_compatible = before
    [answer] = await store.accept([draft("k1")], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    await store.start([outgoing(work)], NOW, 60)
    await store.settle([ended(work, Accepted("SM-k1"))], RECORDER.after_attempt, RECORDER.after_receipt)
    await store.receive([ReceiptFor(_SENT)], NOW, RECORDER.after_receipt)
    return answer.id


async def _stored(database: Database, columns: str, table: str) -> list[Any]:
    return await database.read(
        lambda connection: list(connection.execute(text(f"SELECT {columns} FROM {table}")).all())
    )


@pytest.mark.parametrize("before", [False, True])
async def test_events_are_read_and_proved_in_full(database: Database, before: bool) -> None:
    """Details and actors are those that the chain was given, and every hash covers them."""
    found = await Reads(database).notification("acme", await _life(database, before=before))
    assert found is not None
    told = {each["kind"]: (each["actor"], each["detail"]) for each in found["events"]}
    assert {actor for actor, _ in told.values()} == {"gateway"}
    assert told["receipt"][1] == {"status": "sent", "code": "", "attempt": 1}
    assert told["accepted"][1]["when"] == "accept"
    assert told["attempt_started"][1]["provider"] == "twilio"
    rows = await database.read(
        lambda each: list(linked(each.execute(events.select().order_by(events.c.seq)).mappings()))
    )
    assert [link(row) for row in rows] == [row["hash"] for row in rows]


@pytest.mark.parametrize("before", [False, True])
async def test_the_version_before_can_read_what_is_stored_while_it_runs(database: Database, before: bool) -> None:
    """JSON, an actor's name, a fingerprint in hexadecimal and the receipt's mark are stored then, and only then."""
    await _life(database, before=before)
    details = await _stored(database, "detail, actor", "events WHERE kind != 'sent'")
    assert all((detail.startswith("{"), actor == "gateway") == (before, before) for detail, actor in details)
    [(fingerprint,)] = await _stored(database, "fingerprint", "notifications")
    assert len(fingerprint) == (64 if before else 43)
    [(marks,)] = await _stored(database, "receipts", "deliveries")
    assert len(marks) == (24 if before else 0)


@pytest.mark.parametrize("before", [False, True])
async def test_a_repetition_is_known_whichever_version_took_it_first(database: Database, before: bool) -> None:
    """The same request gets its first answer, another under its key none, and a receipt is taken once."""
    first = await _life(database, before=before)
    store = store_on(database)
    database.backward_compatible = not before
    [again, other] = [(await store.accept([draft("k1", raw=raw)], NOW))[0] for raw in (None, {"key": "changed"})]
    assert (again.outcome, again.id, other.outcome) == ("replayed", first, "conflict")
    later = NOW + timedelta(minutes=1)
    arrived = [ReceiptFor(_SENT), ReceiptFor(_DELIVERED), ReceiptFor(_DELIVERED)]
    results, _ = await store.receive(arrived, later, RECORDER.after_receipt)
    assert results == ["duplicate", "moved", "duplicate"]


@pytest.mark.parametrize(
    "detail",
    [
        "{}",
        '{"template_version":"1","when":"accept","channel":"sms","verdict":{"of":"x","counts":[0,0,0,0],'
        '"valid_until":"2026-12-01T21:55:00.000Z","time_zones":["Asia/Taipei"]}}',
        '{"status":"failed","code":"a\\u0001\\"code\\":\\"","attempt":12}',
        '{"words":"\\\\\\"]}},\\"counts\\":[","verdict":{"of":"y","counts":[1,0],"until":null}}',
    ],
)
def test_a_detail_comes_back_letter_for_letter(detail: str) -> None:
    """Whatever it says, and as earlier versions stored it."""
    assert unpacked(packed(detail)) == detail == unpacked(detail)
    assert len(packed(detail)) <= len(detail)


def test_a_receipts_status_stays_a_word_in_quotes() -> None:
    """SQL looks for complaints by it."""
    assert f'"{ReceiptStatus.COMPLAINED}"' in packed('{"status":"complained","code":"","attempt":1}')


@pytest.mark.parametrize("length", [0, 10, 3_000, 4_096, 100_000])
def test_words_come_back_whatever_their_length(length: int) -> None:
    """With the dictionary and without it, shorter and longer than the window."""
    words = ('{"salt":"","text":"' + "您的款項 NT$3,913 " * length)[: length * 3].encode()
    assert inflated(deflated(words)) == words == inflated(deflated(words, alone=True))


def test_the_dictionaries_still_read_what_they_first_made() -> None:
    """Stored words and details can't be read by another: a change needs another mark, and other characters."""
    words = bytes.fromhex("07830b251bb915a73822245c2b1281d92155c129312f1b4b28181a19a0050428246181a1540b00")
    assert (
        inflated(words).decode()
        == '{"salt":"c2FsdA","text":"Example Bank: your payment of $120.00 was due on Nov 1, 2026."}'
    )
    said = '{"template_version":"1","when":"accept","channel":"sms","verdict":{"of":"x"'
    detail = said + ',"counts":[0,0,0,0],"valid_until":"20'
    assert unpacked("\x011\x02sms\x04x\x06") == detail
    assert unpacked('\x12"sent"\x13') == '{"status":"sent","code":"","attempt":1}'
