"""The evidence for one borrower proves itself: each change of it is named by the verifier that is in it."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from channels.base import Accepted, Content, Receipt, ReceiptStatus, TemplateCall
from gateway.core.deliveries import ReceiptFor
from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind
from gateway.evidence.borrower_file import BorrowerFile, read_borrower_file, read_timeline_page
from gateway.evidence.offline_verifier import FILES, PDFS, check
from gateway.journeys.cases.record import CaseRecord, Closing
from gateway.journeys.cases.store import CaseStore
from gateway.storage.database import Database
from gateway.web import translations
from gateway.web.desk.evidence import evidence_files, evidence_pdfs
from gateway.web.desk.evidence_pdf import find_font
from tests.support.providers.channel_profiles import PROFILES
from tests.support.storage.ledgers import NOW, digest, draft, ended, outgoing, people_on, store_on
from tests.support.storage.settling import RECORDER

TEXTS = translations.load(PROFILES)
CONTENT = Content(
    "Dear Chen Mei,\n“NT$3,913” \x1f\x7f\u2028 € 陳美 \\ / <script>", "Subject", "<p>Dear <b>Chen Mei</b></p>"
)


async def recorded(database: Database) -> BorrowerFile:
    """A borrower with two reminders, a receipt, and a hold that was set and lifted; another borrower beside them."""
    store, people = store_on(database), people_on(database)
    call = TemplateCall("HX12", "zh_TW", (("name", "陳美"),))
    for number, borrower in enumerate(("B-1", "B-1", "B-2")):
        [answer] = await store.accept([draft(f"k{number}", borrower=borrower, case=f"C-{number}")], NOW)
        [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
        content = replace(CONTENT, template=call) if number else CONTENT
        await store.start([replace(outgoing(work), content=content)], NOW, 60)
        await store.settle([ended(work, Accepted(f"SM-{number}"))], RECORDER.after_attempt, RECORDER.after_receipt)
    receipt = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM-0"))
    await store.receive([receipt], NOW + timedelta(seconds=5), RECORDER.after_receipt)
    await people.put_hold("acme", "B-1", Hold(HoldKind.DISPUTE, NOW, None, None), "called us", "key:x")
    await people.lift_hold("acme", "B-1", HoldKind.DISPUTE, "key:x")
    found = await read_borrower_file(database, "acme", "B-1")
    assert found is not None
    return found


@pytest.fixture
async def files(database: Database) -> dict[str, bytes]:
    return evidence_files(await recorded(database), TEXTS, NOW)


def faults(files: Mapping[str, bytes]) -> list[str]:
    return check(files.__getitem__)[1]


def changed(files: Mapping[str, bytes], name: str, change: Callable[[list[bytes]], object]) -> dict[str, bytes]:
    """The files with the lines of one of them changed."""
    lines = files[name].splitlines(keepends=True)
    change(lines)
    return {**files, name: b"".join(lines)}


async def test_what_was_not_changed_holds(files: dict[str, bytes], tmp_path: Path) -> None:
    """Unpacked in a folder, the verifier says so by Python alone, without this project, and exits with 0."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-I", "-S", str(tmp_path / "verify.py")]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Everything holds")
    assert set(files) == {*FILES, "SHA256SUMS"}


async def test_nobody_else_is_in_it(database: Database) -> None:
    """The events, words and pages are those of this borrower alone; an unknown borrower has no file."""
    record = await recorded(database)
    assert {each["borrower_id"] for each in record.own_events()} == {"B-1"}
    assert len(record.words) == 2
    assert all(b"B-2" not in content for content in evidence_files(record, TEXTS, NOW).values())
    assert await read_borrower_file(database, "acme", "nobody") is None
    assert await read_borrower_file(database, "other", "B-1") is None


async def test_one_byte_of_an_event(files: dict[str, bytes]) -> None:
    """A changed word of any event is named with its line."""
    for number in range(len(files["events.jsonl"].splitlines())):

        def change(lines: list[bytes], number: int = number) -> None:
            lines[number] = lines[number].replace(b'"actor":"', b'"actor":"x', 1)

        named = [each for each in faults(changed(files, "events.jsonl", change)) if f"line {number + 1} (" in each]
        assert any("was changed" in each for each in named)


async def test_one_event_that_was_dropped(files: dict[str, bytes]) -> None:
    """The event after the gap is named, or for a chain's last event, its subject."""
    for number in range(len(files["events.jsonl"].splitlines())):
        found = faults(changed(files, "events.jsonl", lambda lines, number=number: lines.pop(number)))
        assert any("does not follow" in each or "the last event of" in each for each in found), number


async def test_two_events_that_were_swapped(files: dict[str, bytes]) -> None:
    """Two events of one subject in the wrong order are named."""

    def change(lines: list[bytes]) -> None:
        first, second, *_ = [at for at, line in enumerate(lines) if b'"subject":"borrower:' in line]
        lines[first], lines[second] = lines[second], lines[first]

    assert any("does not follow" in each for each in faults(changed(files, "events.jsonl", change)))


async def test_words_that_were_exchanged(files: dict[str, bytes]) -> None:
    """Other words for a message are named, though its event was left alone."""

    def change(lines: list[bytes]) -> None:
        lines[0] = lines[0].replace(b"3,913", b"3,931")

    assert any("not the words" in each for each in faults(changed(files, "words.jsonl", change)))


async def test_two_hundred_random_mutations(files: dict[str, bytes]) -> None:
    """A byte that is changed, added or removed anywhere in any file is found; in the events its line is named."""
    chance = random.Random(23)
    for _ in range(200):
        name = chance.choice([*FILES, "SHA256SUMS", "events.jsonl"])
        content = bytearray(files[name])
        at = chance.randrange(len(content))
        way = chance.choice(("change", "add", "remove"))
        if way == "change":
            content[at] ^= chance.randrange(1, 256)
        elif way == "add":
            content.insert(at, chance.randrange(256))
        else:
            del content[at]
        if bytes(content) == files[name]:
            continue
        found = faults({**files, name: bytes(content)})
        assert any(name in each for each in found), (name, at, way)
        if name == "events.jsonl":
            line = files[name][:at].count(b"\n") + 1
            named = [each for each in found if re.search(rf"line ({line}|{line + 1})\b", each)]
            assert named, (at, way, found)


async def test_the_page_says_what_happened(database: Database) -> None:
    """Who, when in local and UTC time, on which channel, in which words, by which template, in both languages."""
    record = await recorded(database)
    files = evidence_files(record, TEXTS, NOW)
    page = files["evidence.en.html"].decode()
    for words in (
        "SMS handed over to twilio at 18:00 in Taipei",
        "SMS delivered at 18:00 in Taipei",
        "10:00 UTC",
        "NT$3,913",
        "Template overdue-first, version 1",
        "Hold set: debt disputed (called us)",
        "API key x",
    ):
        assert words in page, words
    assert "<script>" not in page
    assert "Hold lifted: debt disputed<" in page  # without an empty pair of parentheses
    assert "对债务有争议" in files["evidence.zh.html"].decode()


async def test_a_timeline_is_read_a_page_at_a_time(database: Database) -> None:
    """The pages together are the whole of what happened to the borrower, each with what its events are about."""
    whole = await recorded(database)
    seen, before = [], None
    while True:
        found = await read_timeline_page(database, "acme", "B-1", 4, before)
        assert found is not None
        page, before = found
        assert len(page.events) <= 4
        assert (page.zone, page.name, page.heads) == (whole.zone, whole.name, {})
        started = {each["delivery_id"] for each in page.events if each["kind"] == "attempt_started"}
        assert {delivery for delivery, _ in page.words} == started
        seen = [*(each["seq"] for each in page.events), *seen]
        if before is None:
            break
    assert seen == [each["seq"] for each in whole.own_events()]
    assert await read_timeline_page(database, "acme", "B-99", 4) is None


async def test_why_a_case_was_closed_and_a_message_cancelled_is_in_the_file(database: Database) -> None:
    """A person's reason stands in the events, the case's own included, and on the page."""
    store, people = store_on(database), people_on(database)
    answers = [each for n in range(2) for each in await store.accept([draft(f"k{n}", case=f"C-{n}")], NOW)]
    assert await people.cancel("acme", answers[0].id, "user:1", "asked on the telephone") == "cancelled"
    closing = [CaseRecord("C-1", closing=Closing("sold", NOW))]
    cases = CaseStore(database, digest, lambda: NOW)
    [fed] = await cases.feed("acme", closing, "user:1", borrower_id="B-1", why="sold to another bank")
    assert fed.cancelled == 1
    found = await read_borrower_file(database, "acme", "B-1")
    assert found is not None
    files = evidence_files(found, TEXTS, NOW)
    assert faults(files) == []
    page = files["evidence.en.html"].decode()
    assert "SMS cancelled: Cancelled on request (asked on the telephone)" in page
    assert "SMS cancelled: Case closed (sold to another bank)" in page
    assert "Case C-1 closed: Sold (sold to another bank)" in page
    shown = await read_timeline_page(database, "acme", "B-1", 50)
    assert shown is not None
    assert "case_closing" in [each["kind"] for each in shown[0].events]


async def test_the_pdf_is_covered_by_the_verifier(database: Database) -> None:
    """Each byte of it counts, and leaving it out is named; without any PDF everything holds as well."""
    record = await recorded(database)
    files = evidence_files(record, TEXTS, NOW, evidence_pdfs(record, TEXTS, NOW, find_font()))
    assert {*PDFS} <= set(files)
    assert faults(files) == []
    for name in PDFS:
        assert files[name].startswith(b"%PDF-")
        assert len(files[name]) < 300_000  # of a font of 16 MB, the glyphs that are used
        assert any(name in each for each in faults({**files, name: files[name][:-1]}))
        assert any(name in each for each in faults({key: each for key, each in files.items() if key != name}))
    missing = {key: each for key, each in files.items() if key not in PDFS}
    assert faults({**missing, "SHA256SUMS": evidence_files(record, TEXTS, NOW)["SHA256SUMS"]}) == []


async def test_a_pdf_without_a_font_says_so(database: Database, tmp_path: Path) -> None:
    """One page in letters that every reader has, which names the HTML; a chosen font that is missing is passed over."""
    record = await recorded(database)
    [english, chinese] = evidence_pdfs(record, TEXTS, NOW, None).values()
    assert max(len(english), len(chinese)) < 3_000
    assert find_font(tmp_path / "no-font.ttf") == find_font()
