"""The audit finds what went out against a rule, each kind of it, and nothing else; on SQLite and PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from channels.base import (
    Accepted,
    LookupAnswer,
    LookupResult,
    Receipt,
    ReceiptStatus,
    TransientFailure,
    UnknownOutcome,
)
from channels.base import ProviderReason as Why
from gateway.borrowers.preferences import PreferenceStore
from gateway.core.deliveries import ClaimedDelivery, ReceiptFor, Transition
from gateway.core.facts import ChosenPreferences, Hold
from gateway.core.notifications import Category, Step
from gateway.core.reasons import HoldKind, Violation
from gateway.core.requests import DecidedRequest
from gateway.core.states import State
from gateway.evidence.audit.auditor import Auditor
from gateway.evidence.audit.figures import Figures
from gateway.storage.database import Database
from gateway.storage.tables.path import events
from gateway.storage.tables.retention import audit_findings, audit_progress
from tests.support.storage.ledgers import NOW, close_case, digest, draft, ended, outgoing, people_on, store_on
from tests.support.storage.settling import RECORDER

POLICIES = Path(__file__).parents[3] / "templates" / "policies"
FIGURES = Figures.load(POLICIES)
HOUR = timedelta(hours=1)
SENT = Accepted("SM1")


async def _claim(database: Database, each: DecidedRequest, at: datetime) -> ClaimedDelivery:
    store = store_on(database)
    [answer] = await store.accept([each], at)
    [work] = await store.claim([answer.first_delivery or ""], at, 60)
    return work


async def _attempt(
    database: Database, work: ClaimedDelivery, at: datetime, result: Any = SENT, seconds: float = 1
) -> None:
    """Hand a message over, whatever the policy would have said, and record the provider's answer."""
    store = store_on(database)
    assert await store.start([outgoing(work)], at, 60)
    answered = ended(work, result, at + timedelta(seconds=seconds), began=at)
    await store.settle([answered], RECORDER.after_attempt, RECORDER.after_receipt)


async def _contact(database: Database, key: str, at: datetime = NOW, **options: Any) -> ClaimedDelivery:
    work = await _claim(database, draft(key, now=at, **options), at)
    await _attempt(database, work, at)
    return work


async def _judge_all(auditor: Auditor) -> int:
    """Judge what is there: on PostgreSQL it is known to be complete at the second look."""
    return await auditor.catch_up(NOW) + await auditor.catch_up(NOW)


async def _found(database: Database, figures: Figures = FIGURES) -> list[Violation]:
    auditor = Auditor(database, figures)
    await _judge_all(auditor)
    counts = await auditor.lately(NOW)
    return sorted(kind for kind, number in counts.items() for _ in range(number))


def _in_zone(key: str, zones: Sequence[str], **changes: Any) -> DecidedRequest:
    made = draft(key, **changes)
    borrower = replace(made.notification.borrower, time_zones=tuple(zones), jurisdiction="tw" if zones else "zz")
    return replace(made, notification=replace(made.notification, borrower=borrower))


async def test_lawful_contacts_are_judged_and_break_nothing(database: Database) -> None:
    """Contacts of several borrowers at six in the evening, and one's second four hours after the first."""
    for number in range(3):
        await _contact(database, f"k{number}", NOW - 6 * HOUR, borrower=f"B-{number}", case=f"C-{number}")
    await _contact(database, "again", NOW, borrower="B-0", case="C-0")
    auditor = Auditor(database, FIGURES)
    assert await _judge_all(auditor) == 4
    assert await _judge_all(auditor) == 0
    assert await auditor.lately(NOW) == {}


async def test_a_contact_that_is_committed_late_is_judged(empty_postgresql: str) -> None:
    """The audit waits for a transaction that took its event's number earlier, however long it stays open."""
    database = Database(empty_postgresql)
    auditor = Auditor(database, FIGURES)
    with database.engine.connect() as late:
        late.execute(insert(events), [_event()])
        await _contact(database, "later")
        assert [await auditor.catch_up(NOW) for _ in range(3)] == [0, 0, 0]
        late.commit()
    assert await _judge_all(auditor) == 1
    progress = await database.read(lambda connection: connection.execute(select(audit_progress.c.seq)).scalar_one())
    assert progress > 1
    await database.close()


def _event() -> dict[str, Any]:
    row = dict.fromkeys(("reason", "local_at", "previous_hash", "hash", "state"), "")
    told = {"tenant": "acme", "subject": "ntf_1", "borrower_id": "B-1", "actor": "gateway", "detail": "{}"}
    return {**row, **told, "at": NOW, "kind": "accepted"}


async def test_a_cap_over_ninety_days_is_judged_over_ninety_days(database: Database, tmp_path: Path) -> None:
    """How far back the audit counts follows from the pack files: the third message breaks a cap of two."""
    policies = shutil.copytree(POLICIES, tmp_path / "policies")
    pack = policies / "tw.yaml"
    before = "value: 7, period_kind: consecutive_days, period: 7,"
    text = pack.read_text("utf-8")
    assert before in text
    pack.write_text(text.replace(before, "value: 2, period_kind: consecutive_days, period: 90,"), "utf-8")
    for number, days in enumerate((-89, -40, 0)):
        await _contact(database, f"k{number}", NOW + timedelta(days=days))
    assert await _found(database, Figures.load(policies)) == [Violation.OVER_CAP]


@pytest.mark.parametrize(
    ("zones", "at"),
    [
        (["Asia/Taipei"], NOW + 6 * HOUR),  # midnight
        (["Asia/Taipei", "America/New_York"], NOW),  # five in the morning there
        ([], NOW),
    ],
)
async def test_a_contact_outside_the_hours_is_found(database: Database, zones: list[str], at: datetime) -> None:
    """At night, at night in one of two possible zones, and where nobody knows the zone."""
    work = await _claim(database, _in_zone("k", zones), at)
    await _attempt(database, work, at)
    assert await _found(database) == [Violation.OUTSIDE_WINDOW]


async def test_a_message_that_a_provider_took_after_the_hours_is_found(database: Database) -> None:
    """It was begun in time and taken three minutes after ten in the evening."""
    at = datetime(2026, 11, 24, 13, 59, tzinfo=UTC)  # 21:59 in Taipei
    work = await _claim(database, draft("k", now=at), at)
    await _attempt(database, work, at, seconds=240)
    assert await _found(database) == [Violation.OUTSIDE_WINDOW]


async def test_the_borrowers_own_hours_count(database: Database) -> None:
    """Who asked for mornings was written to in the evening."""
    made = draft("k")
    borrower = replace(made.notification.borrower, windows=(("09:00", "12:00"),))
    work = await _claim(database, replace(made, notification=replace(made.notification, borrower=borrower)), NOW)
    await _attempt(database, work, NOW)
    assert await _found(database) == [Violation.OUTSIDE_WINDOW]


async def test_the_hours_that_a_borrower_chose_on_their_page_count(database: Database) -> None:
    """The evening's message is one outside of the chosen morning, whatever its request stated."""
    chosen = ChosenPreferences((("09:00", "12:00"),))
    preferences = PreferenceStore(database, people_on(database), digest, lambda: NOW - HOUR)
    assert await preferences.choose("acme", "B-1", chosen)
    work = await _claim(database, draft("k"), NOW)
    assert work.borrower.facts.chosen == chosen
    await _attempt(database, work, NOW)
    assert await _found(database) == [Violation.OUTSIDE_WINDOW]


async def test_contacts_over_a_cap_are_found(database: Database) -> None:
    """The third SMS of a day to one borrower in Taiwan, where two are the most."""
    for number, hours in enumerate((-9, -5, 0)):
        await _contact(database, f"k{number}", NOW + hours * HOUR, case=f"C-{number}")
    assert await _found(database) == [Violation.OVER_CAP]


async def test_a_contact_that_did_not_arrive_leaves_room_for_another(database: Database) -> None:
    """The provider said that the first of three did not arrive before the third began."""
    first = await _contact(database, "k0", NOW - 9 * HOUR, case="C-0")
    receipt = Receipt("twilio", ReceiptStatus.UNDELIVERED, provider_message_id="SM1")
    arrived = [ReceiptFor(receipt, first.delivery.id, 1)]
    await store_on(database).receive(arrived, NOW - 8 * HOUR, RECORDER.after_receipt)
    await _contact(database, "k1", NOW - 5 * HOUR, case="C-1")
    await _contact(database, "k2", NOW, case="C-2")
    assert await _found(database) == []


async def test_silence_leaves_no_room_for_another(database: Database) -> None:
    """The first went without a receipt until its deadline and may have arrived: the next within four hours is found."""
    first = await _contact(database, "k0", NOW - 2 * HOUR, case="C-0")
    silent = RECORDER.after_lookup(
        replace(first.delivery, state=State.SENT), first.notification, LookupAnswer(LookupResult.ABSENT), NOW - HOUR
    )
    await store_on(database).apply([silent])
    await _contact(database, "k1", NOW, case="C-1")
    assert await _found(database) == [Violation.TOO_SOON]


async def test_contacts_too_close_together_are_found(database: Database) -> None:
    """Two reminders within four hours; the steps of one reminder's own route may follow each other."""
    await _contact(database, "k0", NOW - 2 * HOUR, case="C-0")
    await _contact(database, "k1", NOW, case="C-1")
    assert await _found(database) == [Violation.TOO_SOON]


async def test_a_contact_after_an_opt_out_is_found(database: Database) -> None:
    """Opted out by SMS: the contact before it is lawful, the one after it is not, and e-mail may go on."""
    await _contact(database, "before", NOW - 8 * HOUR)
    await people_on(database, NOW - 7 * HOUR).add_opt_out("acme", "B-1", "sms", None, "letter", "ops")
    await _contact(database, "mail", NOW - 3 * HOUR, case="C-2", route=(Step("email"),))
    assert await _found(database) == []
    await _contact(database, "after", NOW + HOUR, case="C-3")
    assert await _found(database) == [Violation.AFTER_OPT_OUT]


async def test_a_lifted_opt_out_permits_again(database: Database) -> None:
    """What was taken back doesn't count."""
    people = people_on(database, NOW - 7 * HOUR)
    opt_out = await people.add_opt_out("acme", "B-1", None, None, "letter", "ops")
    await people.lift_opt_out("acme", "B-1", opt_out, "ops")
    await _contact(database, "after")
    assert await _found(database) == []


async def test_a_contact_during_a_hold_is_found(database: Database) -> None:
    """A dispute that was over by the time of the second contact, and not by that of the first."""
    hold = Hold(HoldKind.DISPUTE, NOW - 8 * HOUR, NOW - 2 * HOUR)
    await people_on(database, NOW - 8 * HOUR).put_hold("acme", "B-1", hold, "says so", "ops")
    await _contact(database, "during", NOW - 5 * HOUR)
    await _contact(database, "after", NOW, case="C-2")
    assert await _found(database) == [Violation.DURING_HOLD]


async def test_a_contact_about_a_closed_case_is_found(database: Database) -> None:
    """The case was paid an hour before; what crossed the payment by seconds is nobody's fault."""
    await close_case(database, "C-1", NOW - HOUR)
    await _contact(database, "after")
    await close_case(database, "C-2", NOW - timedelta(seconds=2))
    await _contact(database, "crossing", borrower="B-2", case="C-2")
    assert await _found(database) == [Violation.AFTER_CLOSE]


async def test_promotion_without_consent_is_found(database: Database) -> None:
    """Consent came after the first of two messages."""

    def promotion(key: str, at: datetime) -> DecidedRequest:
        made = draft(key, now=at, case=key)
        return replace(made, notification=replace(made.notification, category=Category.PROMOTIONAL))

    at = NOW - 8 * HOUR  # ten in the morning
    await _attempt(database, await _claim(database, promotion("k1", at), at), at)
    await people_on(database, at + HOUR).give_consent("acme", "B-1", Category.PROMOTIONAL, "web", "form 7", "ops")
    at += 5 * HOUR
    await _attempt(database, await _claim(database, promotion("k2", at), at), at)
    assert await _found(database) == [Violation.NO_CONSENT]


async def test_a_message_without_the_consent_that_its_channel_wants_is_found(database: Database) -> None:
    """A consent to the category is none; one to the channel counts from when it was recorded."""
    people, at = people_on(database, NOW - 9 * HOUR), NOW - 8 * HOUR
    await people.give_consent("acme", "B-1", Category.COLLECTIONS, "app", "form 7", "ops")
    await _attempt(database, await _claim(database, draft("k1", now=at, case="k1"), at), at)
    later_on = people_on(database, at + HOUR)
    await later_on.give_consent("acme", "B-1", Category.COLLECTIONS, "app", "form 8", "ops", "sms")
    at += 5 * HOUR
    await _attempt(database, await _claim(database, draft("k2", now=at, case="k2"), at), at)
    wanting = Figures.load(POLICIES, {"sms": frozenset({"collections"})})
    assert await _found(database, wanting) == [Violation.NO_CONSENT]


async def _again(database: Database, work: ClaimedDelivery, move: Transition, at: datetime) -> None:
    """Move a delivery to another attempt and make that."""
    store = store_on(database)
    await store.apply([replace(move, due_at=at)])
    [again] = await store.claim([work.delivery.id], at, 60)
    await _attempt(database, again, at)


async def test_a_blind_resend_is_found_and_a_retry_is_not(database: Database) -> None:
    """After a provider's refusal another attempt is right; after an unknown outcome it needs a proof."""
    refused = await _claim(database, draft("refused"), NOW)
    await _attempt(database, refused, NOW, TransientFailure(Why.RATE_LIMITED))
    [retried] = await store_on(database).claim([refused.delivery.id], NOW + HOUR, 60)
    await _attempt(database, retried, NOW + HOUR)
    assert await _found(database) == []

    for number, kind in enumerate(("resolved", "on_a_whim")):
        work = await _claim(database, draft(kind, borrower=kind, case=kind), NOW)
        await _attempt(database, work, NOW, UnknownOutcome(Why.TIMEOUT))
        await _again(database, work, Transition(work.delivery.id, kind, NOW, to=State.RETRYING), NOW + HOUR)
        assert await _found(database) == [Violation.REPEAT] * number, kind


async def test_what_must_arrive_is_resent_once(database: Database) -> None:
    """A notice that the law wants received may go a second time, an ordinary reminder may not."""
    for must_arrive, found in ((True, []), (False, [Violation.REPEAT])):
        made = draft(f"{must_arrive}", borrower=f"B-{must_arrive}", case=f"{must_arrive}")
        made = replace(made, notification=replace(made.notification, must_arrive=must_arrive))
        work = await _claim(database, made, NOW)
        await _attempt(database, work, NOW, UnknownOutcome(Why.TIMEOUT))
        move = Transition(work.delivery.id, "resent", NOW, to=State.RETRYING, changes={"deliberate_resends": 1})
        await _again(database, work, move, NOW + HOUR)
        assert await _found(database) == found


async def test_two_requests_of_one_meaning_that_both_went_out_are_found(database: Database) -> None:
    """The claim on the meaning failed, and two reminders about the same stage went out."""
    await _contact(database, "k1", NOW - 5 * HOUR, dedup="same")
    other = draft("k2", dedup="other", now=NOW)
    work = await _claim(database, other, NOW)
    await _same_meaning(database, other.notification.id)
    await _attempt(database, work, NOW)
    assert await _found(database) == [Violation.REPEAT]


async def _same_meaning(database: Database, notification_id: str) -> None:
    from sqlalchemy import update

    from gateway.storage.tables.path import notifications

    change = update(notifications).where(notifications.c.id == notification_id).values(dedup_key="same")
    await database.write(lambda connection: connection.execute(change))


async def test_two_audits_at_once_find_each_thing_once(database: Database) -> None:
    """Two workers judge the same stretch: one stores it, and a third that comes later goes on behind it."""
    await _contact(database, "night", NOW + 6 * HOUR)
    for auditor in (Auditor(database, FIGURES), Auditor(database, FIGURES)):
        await _judge_all(auditor)
    rows = await database.read(lambda connection: connection.execute(select(audit_findings)).all())
    assert [(row.kind, row.notification_id[:4]) for row in rows] == [(Violation.OUTSIDE_WINDOW, "ntf_")]
    assert "22:00" in rows[0].detail
    assert (
        await Auditor(database, FIGURES).lately(NOW + timedelta(days=2)) == {}
    )  # it is history, and stays in the ledger


async def test_the_past_is_audited_by_dates(database: Database) -> None:
    """Only contacts of the stretch are judged, with what was known before it, and nothing is stored."""
    await _contact(database, "k0", NOW - 2 * HOUR, case="C-0")
    await _contact(database, "k1", NOW, case="C-1")
    judged = [each async for each in Auditor(database, FIGURES).between(NOW, NOW + HOUR)]
    assert sum(each.contacts for each in judged) == 1
    assert [found.kind for each in judged for found in each.findings] == [Violation.TOO_SOON]
    assert await Auditor(database, FIGURES).lately(NOW) == {}
