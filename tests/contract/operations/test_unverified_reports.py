"""Complaints and bounces that name no message of ours: kept for a person within bounds, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from channels.base import OriginalReport, Receipt, ReceiptStatus
from gateway.core.codec import opt_outs_from
from gateway.core.errors import ReviewQueueFull, WrongBorrower
from gateway.core.facts import OptOut
from gateway.core.understanding import OpenReviews, Urgency
from gateway.operations import unverified_reports as module
from gateway.operations.reviews import ReviewPosition, Reviews
from gateway.operations.unverified_reports import UnverifiedReports
from gateway.retention.erasing import Eraser, RemovalCounts, RetentionPeriods
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import borrowers, unverified_reports
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import events
from tests.support.storage.ledgers import NOW, digest, draft, later, outgoing, store_on

PHONE = "+12025550123"


def _receipt(text: str, status: ReceiptStatus = ReceiptStatus.COMPLAINED) -> Receipt:
    return Receipt(
        "mail", status, original=OriginalReport(f"Subject: {text}\r\n\r\n{text}".encode(errors="replace"), text)
    )


async def _keep(database: Database, receipt: Receipt, tenant: str = "acme", now: datetime = NOW) -> bool:
    return await UnverifiedReports(database, digest, lambda: now).keep(receipt, "sms", tenant)


async def _sent(database: Database, key: str = "k1", **options: Any) -> str:
    store = store_on(database)
    [answer] = await store.accept([draft(key, **options)], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    return work.delivery.id


async def _known(database: Database, tenant: str) -> None:
    row = {"id": tenant, "tenant": tenant, "name": "", "digest": "", "scopes": "", "created_at": NOW}
    await database.write(lambda connection: connection.execute(api_keys.insert(), [row]))


async def _opt_outs(database: Database, borrower: str) -> list[OptOut]:
    query = select(borrowers.c.opt_outs).where(borrowers.c.id == borrower)
    text = await database.read(lambda connection: connection.execute(query).scalar_one())
    return [each.opt_out for each in opt_outs_from(text)]


async def test_a_complaint_waits_once_with_its_mail(database: Database) -> None:
    """The mail server may deliver it twice. It is the tenant's alone, urgent today, and counted among the reviews."""
    assert await _keep(database, _receipt("nul\x00 and \ud800"))
    assert not await _keep(database, _receipt("nul\x00 and \ud800"))
    assert await _keep(database, _receipt("unknown user", ReceiptStatus.UNDELIVERED), now=later(1))
    reviews = Reviews(database, digest, lambda: later(60))
    complaint, bounce = await reviews.waiting("acme", None, 10)
    shown = [(each["kind"], each["reason"], each["urgency"], each["borrower_id"]) for each in (complaint, bounce)]
    assert shown == [("report", "unverified_complaint", "today", ""), ("report", "unverified_bounce", "routine", "")]
    assert complaint["text"] == "nul  and ?"
    assert await reviews.waiting("other", None, 10) == []
    assert await reviews.waiting("acme", "unverified_bounce", 10) == [bounce]
    assert await reviews.waiting("acme", None, 10, ReviewPosition.of(complaint)) == [bounce]
    assert await reviews.waiting("acme", None, 10, ReviewPosition.of(bounce)) == []
    assert await reviews.original("other", complaint["id"]) is None
    assert b"Subject: unknown user" in (await reviews.original("acme", bounce["id"]) or b"")
    ages = await store_on(database).ages(later(100))
    assert (ages.review, ages.oldest_review_seconds) == (2, 100)
    assert ages.reviews == {Urgency.TODAY: OpenReviews(1), Urgency.ROUTINE: OpenReviews(1)}
    assert (await store_on(database).ages(later(100), "other")).review == 0


async def test_a_complaint_is_assigned_and_the_address_is_opted_out(database: Database) -> None:
    """As if it had named the borrower's latest message; who decided so and why is in the borrower's chain."""
    await _sent(database)
    await _keep(database, _receipt("leave me alone"))
    reviews = Reviews(database, digest, lambda: later(60))
    [item] = await reviews.waiting("acme", None, 10)
    for wrong in ("", "B-nobody"):
        with pytest.raises(WrongBorrower):
            await reviews.refuse("acme", item["id"], "by telephone", "key:1", wrong)
    assert not await reviews.refuse("other", item["id"], "not theirs", "key:1", "B-1")
    assert await reviews.waiting("acme", None, 10) == [item]
    assert await reviews.refuse("acme", item["id"], "the number is in the mail", "key:1", "B-1")
    [opt_out] = await _opt_outs(database, "B-1")
    assert (opt_out.channel, opt_out.address) == ("sms", digest("acme", "sms", PHONE))
    assert await reviews.waiting("acme", None, 10) == []
    assert not await reviews.refuse("acme", item["id"], "again", "key:1", "B-1")
    query = select(events.c.actor).where(events.c.kind == "report_assigned")
    assert await database.read(lambda connection: connection.execute(query).scalars().all()) == ["key:1"]


async def test_a_bounce_is_assigned_and_the_address_is_not_written_to_again(database: Database) -> None:
    """A dead address is no opt-out of the borrower, who may have another."""
    await _sent(database)
    await _keep(database, _receipt("unknown user", ReceiptStatus.UNDELIVERED))
    reviews = Reviews(database, digest, lambda: later(60))
    [item] = await reviews.waiting("acme", None, 10)
    assert await reviews.refuse("acme", item["id"], "the address is in the mail", "key:1", "B-1")
    assert await _opt_outs(database, "B-1") == []
    key = ("acme", "sms", digest("acme", "sms", PHONE))
    facts = (await store_on(database).facts([("acme", "B-1")], [], [key], NOW))[("acme", "B-1")].facts
    assert facts.addresses[key[2]].suppressed == "invalid_address"


async def test_a_report_about_nobody_is_dismissed(database: Database) -> None:
    """It changes nothing, and is erased with the contents; one that waits is never dropped, whatever its age."""
    await _sent(database)
    for text in ("spam for everybody", "still unread"):
        await _keep(database, _receipt(text))
    reviews = Reviews(database, digest, lambda: later(60))
    dismissed, unread = await reviews.waiting("acme", None, 10)
    assert await reviews.approve("acme", dismissed["id"], "an advertisement", "key:1")
    assert not await reviews.approve("acme", dismissed["id"], "again", "key:1")
    assert await _opt_outs(database, "B-1") == []
    day = timedelta(days=1)
    keep, removed = RetentionPeriods(records=0 * day, contents=10 * day, feed=0 * day, orphans=0 * day), RemovalCounts()
    await Eraser(database, keep, NOW + 11 * day).run(asyncio.Event(), removed)
    assert removed.reports == 1
    assert await reviews.waiting("acme", None, 10) == [unread]


async def test_what_is_kept_is_bounded_and_nothing_is_dropped(database: Database, monkeypatch: Any) -> None:
    """Beyond so many in an hour, or so many unread, it is not taken: the mail server keeps it. Bounces fill no queue of
    complaints."""
    monkeypatch.setattr(module, "MOST_IN_AN_HOUR", 2)
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    for text in ("1", "2"):
        assert await _keep(database, _receipt(text))
    with pytest.raises(ReviewQueueFull):
        await _keep(database, _receipt("0"))
    assert not await _keep(database, _receipt("2"))  # it is kept already, and acknowledged
    assert await _keep(database, _receipt("unknown user", ReceiptStatus.UNDELIVERED))
    assert await _keep(database, _receipt("3"), "other")
    hour_later = NOW + timedelta(hours=1)
    assert await _keep(database, _receipt("4"), now=hour_later)
    with pytest.raises(ReviewQueueFull):
        await _keep(database, _receipt("5"), now=hour_later)
    query = select(func.count()).select_from(unverified_reports)
    assert await database.read(lambda connection: connection.execute(query).scalar_one()) == 5


async def test_a_large_mail_is_cut_off(database: Database) -> None:
    """The first 256,000 octets are kept: a person finds the borrower in them."""
    raw = b"x" * 900_000
    receipt = Receipt("mail", ReceiptStatus.COMPLAINED, original=OriginalReport(raw, "x"))
    assert await _keep(database, receipt)
    [item] = await Reviews(database, digest, lambda: NOW).waiting("acme", None, 10)
    assert await Reviews(database, digest, lambda: NOW).original("acme", item["id"]) == raw[:256_000]


async def test_of_several_tenants_the_provider_names_whose_it_is(database: Database) -> None:
    """What nobody may read is not kept; with one tenant it is theirs."""
    await _known(database, "acme")
    assert await _keep(database, _receipt("1"), "")
    await _known(database, "other")
    assert not await _keep(database, _receipt("2"), "")
    assert await _keep(database, _receipt("2"), "other")
    assert not await _keep(database, Receipt("mail", ReceiptStatus.COMPLAINED))
    assert not await _keep(database, _receipt("3", ReceiptStatus.DELIVERED))
