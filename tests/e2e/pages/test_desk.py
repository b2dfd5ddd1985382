"""The desk in a browser: find a borrower, see what they were told and why not, act with a reason, decide reviews."""

from __future__ import annotations

import os
import re
import zipfile
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from sqlalchemy import update

from channels.base import OriginalReport, Receipt, ReceiptStatus
from gateway.core.reasons import PolicyReason
from gateway.core.states import State
from gateway.evidence.offline_verifier import check
from gateway.operations.unverified_reports import UnverifiedReports
from gateway.storage.tables.path import deliveries
from tests.support.pages.accessibility import look
from tests.support.pages.browser import PASSWORD, sign_in, window
from tests.support.whole_gateway import REQUEST, Running

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/desk/borrowers/B-1001"


@dataclass(frozen=True)
class DeskOffice:
    """One lender with an agent, a supervisor and a compliance officer, and one borrower with a delivered SMS."""

    tenant: str
    running: Running
    browser: Browser
    first: dict[str, Any]

    def window(self, **options: Any) -> AbstractAsyncContextManager[Page]:
        return window(self.browser, self.running.url, **options)

    async def enter(self, page: Page, role: str, back: str = "/desk") -> None:
        await sign_in(page, f"{role}@{self.tenant}.example", back)

    async def entries(self) -> list[tuple[str, str]]:
        found = await self.running.gateway.ledger.admin_log.listed(self.tenant, 100)
        return [(each["operation"], each["outcome"]) for each in found]


@pytest_asyncio.fixture(loop_scope="module")
async def office(house: tuple[Running, Browser]) -> DeskOffice:
    """A lender of its own for each test. A second reminder waits for the time between two messages."""
    running, browser = house
    tenant, ledger = f"t{os.urandom(4).hex()}", running.gateway.ledger
    for role, name in (("agent", "Ana Ruiz"), ("supervisor", "Sam Ng"), ("compliance", "Cora Lau"), ("viewer", "Vic")):
        await ledger.users.add(tenant, name, f"{role}@{tenant}.example", role, PASSWORD, ledger.clock())
    _, key = await ledger.keys.create(tenant, "case system", ["send", "read", "manage"], ledger.clock())
    client = replace(running, headers={"Authorization": f"Bearer {key}"})
    _, answer = await client.call("POST", "/v1/notifications", REQUEST)
    first = await client.until_at_rest(answer["id"])
    await client.call("POST", "/v1/notifications", {**REQUEST, "dedup_key": "second"})
    return DeskOffice(tenant, client, browser, first)


async def _search(page: Page, query: str) -> None:
    await page.goto("/desk")
    await page.get_by_label("Find a borrower").fill(query)
    await page.get_by_role("button", name="Search").press("Enter")


async def test_a_borrower_is_found_by_what_is_typed(office: DeskOffice) -> None:
    """By id, case, the beginning of a message's id, and address; nobody is listed, and no address is in a URL."""
    async with office.window() as page:
        await office.enter(page, "agent")
        for query in ("B-1001", "C-77", office.first["id"][:20], "+1 202 555 0123"):
            await _search(page, query)
            await page.wait_for_url(f"**{PATH}")
        await _search(page, "+12025550199")
        await expect(page.get_by_role("status")).to_contain_text("Nobody found")
        assert page.url.endswith("/desk/search")
        await _search(page, "B-")
        await expect(page.get_by_role("status")).to_contain_text("Nobody found")


async def test_the_record_says_what_was_sent_and_why_not(office: DeskOffice) -> None:
    """The words with the local time, the rule that defers the second message, and each channel's next instant."""
    async with office.window() as page:
        await office.enter(page, "agent", PATH)
        timeline = page.locator("ol.timeline")
        await expect(timeline).to_contain_text(re.compile(r"SMS delivered at 10:\d\d in Taipei"))
        await expect(timeline).to_contain_text("3,913")
        await expect(timeline).to_contain_text("SMS not sent yet: Too soon after the last message; next possible")
        await expect(page.locator(".outlook")).to_contain_text("Next possible")
        await page.goto(f"/language/zh?back={PATH}")
        await expect(timeline).to_contain_text(re.compile(r"短信于台北时间 10:\d\d 送达"))
    assert ("GET /desk/borrowers/{borrower_id}", "begun") in await office.entries()


async def test_an_agent_sets_a_hold_and_a_supervisor_lifts_it(office: DeskOffice) -> None:
    """By keyboard alone, with a reason that the record keeps; what a role may not do is not on its page."""
    async with office.window() as agent, office.window() as supervisor:
        await office.enter(agent, "agent", PATH)
        await agent.locator("summary", has_text="Set a hold").press("Enter")
        await agent.get_by_label("Because of").select_option("dispute")
        await agent.locator("#hold-reason").fill("says that it is paid")
        await agent.locator("#hold-reason").press("Enter")
        await expect(agent.get_by_role("status")).to_contain_text("The hold is set")
        await expect(agent.locator("ol.timeline")).to_contain_text("Hold set: debt disputed (says that it is paid)")
        await expect(agent.get_by_role("button", name="Download the evidence")).to_have_count(0)
        await expect(agent.locator("summary", has_text="Lift")).to_have_count(0)
        await expect(agent.locator("summary", has_text="Close a case")).to_have_count(0)
        await office.enter(supervisor, "supervisor", PATH)
        await supervisor.locator("summary", has_text="Lift: debt disputed").press("Enter")
        await supervisor.locator("#lift-1-reason").fill("the payment was another one")
        await supervisor.locator("#lift-1-reason").press("Enter")
        await expect(supervisor.get_by_role("status")).to_contain_text("The hold is lifted")
        await expect(supervisor.locator("ol.timeline")).to_contain_text("the payment was another one")


async def test_opt_out_consent_cancel_and_close(office: DeskOffice) -> None:
    """Each other act is done and said, and stands in the record."""
    async with office.window() as page:
        await office.enter(page, "supervisor", PATH)
        for opener, field, said in (
            ("Record an opt-out", "#optout-reason", "The opt-out is recorded"),
            ("Lift: Any channel", "#optin-1-reason", "The opt-out is lifted"),
            ("Record a consent", "#consent-reason", "The consent is recorded"),
            ("Withdraw: ", "#withdraw-1-reason", "The consent is withdrawn"),
            ("Close a case", "#close-reason", "The case is closed"),
        ):
            await page.locator("summary", has_text=opener).first.click()
            await page.locator(field).fill("asked us on the telephone")
            await page.locator(field).press("Enter")
            await expect(page.get_by_role("status")).to_contain_text(said)
        await expect(page.locator(".outlook")).to_contain_text("Case closed")
        await expect(page.locator("ol.timeline")).to_contain_text("Case C-77 closed: Paid (asked us on the telephone)")


async def test_a_consent_to_one_channel_is_shown_and_withdrawn(office: DeskOffice) -> None:
    """WhatsApp needs a consent of its own: the record names the channel, and an agent withdraws that one."""
    async with office.window() as page:
        await office.enter(page, "agent", PATH)
        consents = page.locator("section", has=page.get_by_role("heading", name="Consents"))
        await consents.locator("summary", has_text="Record a consent").click()
        await page.locator("#consent-category").select_option("service")
        await page.locator("#consent-channel").select_option("whatsapp")
        await page.locator("#consent-reason").fill("signed on 3 November")
        await page.locator("#consent-reason").press("Enter")
        await expect(page.locator("ol.timeline")).to_contain_text("Consent recorded: Service, on WhatsApp (signed on 3")
        await consents.locator("summary", has_text="Withdraw: Service, on WhatsApp").click()
        await page.locator("#withdraw-1-reason").fill("asked us on the telephone")
        await page.locator("#withdraw-1-reason").press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("The consent is withdrawn")
        await expect(consents).to_contain_text("None")


async def test_a_duplicate_is_said_to_be_one_of_which_message(office: DeskOffice) -> None:
    """Why a second request for the same reminder was not sent, with the id of the one that was."""
    _, again = await office.running.call("POST", "/v1/notifications", REQUEST)
    assert again["reason"] == "duplicate"
    async with office.window() as page:
        await office.enter(page, "agent", PATH)
        said = f"Not sent: Duplicate of another request ({office.first['id']})"
        await expect(page.locator("ol.timeline")).to_contain_text(said)
        await expect(page.locator(".outlook").first).to_contain_text("1 of 3 in 1 calendar day")
        await expect(page.locator(".outlook").first).not_to_contain_text("(s)")


async def test_nobody_does_what_the_role_does_not_permit(office: DeskOffice) -> None:
    """A form that a page does not show is refused all the same, and the refusal is recorded."""
    for role, path, status in (
        ("viewer", f"{PATH}/hold", 403),
        ("agent", f"{PATH}/lift-hold", 403),
        ("agent", f"{PATH}/close-case", 403),
        ("supervisor", f"{PATH}/evidence", 403),
        ("agent", f"{PATH}/nothing", 404),
        ("agent", f"{PATH}/hold", 422),
    ):
        async with office.window() as page:
            await office.enter(page, role, "/ops" if role == "viewer" else "/desk")
            token = await page.locator("input[name=form_token]").first.get_attribute("value")
            answer = await page.request.post(path, form={"form_token": token or "", "kind": "dispute"})
            assert answer.status == status, (role, path)
    assert ("POST /desk/borrowers/{borrower_id}/{act}", "refused") in await office.entries()


async def test_the_evidence_is_handed_out(office: DeskOffice) -> None:
    """The compliance officer's button gives the ZIP, and its verifier says that it holds."""
    async with office.window() as page:
        await office.enter(page, "compliance", PATH)
        async with page.expect_download() as started:
            await page.get_by_role("button", name="Download the evidence").click()
        with zipfile.ZipFile(await (await started.value).path()) as archive:
            number, faults = check(archive.read)
        assert faults == []
        assert number > 5
    assert ("POST /desk/borrowers/{borrower_id}/evidence", "begun") in await office.entries()


async def test_a_review_is_decided(office: DeskOffice) -> None:
    """A message whose borrower's zone is unknown waits for a person: the page says what to do, and it is refused."""
    waits = deliveries.c.tenant == office.tenant, deliveries.c.state == State.DEFERRED
    unknown = update(deliveries).where(*waits).values(state=State.REVIEW, reason=PolicyReason.UNKNOWN_ZONE, due_at=None)
    await office.running.gateway.ledger.database.write(lambda connection: connection.execute(unknown))
    async with office.window() as page:
        await office.enter(page, "supervisor", "/desk/reviews")
        await expect(page.locator("main")).to_contain_text("Borrower's time zone unknown")
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        await page.locator("#refuse-1").fill("a new request follows")
        await page.locator("#refuse-1").press("Enter")
        await expect(page.locator("main")).to_contain_text("Nothing waits for review.")


async def test_a_complaint_without_a_name_is_assigned(office: DeskOffice) -> None:
    """The page has what it says and the mail; an unknown borrower changes nothing, the right one is opted out."""
    ledger = office.running.gateway.ledger
    raw = b"Subject: Stop\r\n\r\nThis is about the SMS to +12025550123."
    original = OriginalReport(raw, "Subject: Stop\n\nThis is about the SMS to +12025550123.")
    complaint = Receipt("sms-simulator", ReceiptStatus.COMPLAINED, original=original)
    unverified = UnverifiedReports(ledger.database, ledger.signer.digest, ledger.clock)
    assert await unverified.keep(complaint, "sms", office.tenant)
    async with office.window() as page:
        await office.enter(page, "supervisor", "/desk/reviews")
        await look(page, "desk-report")
        await expect(page.locator("main")).to_contain_text("This is about the SMS to +12025550123.")
        async with page.expect_download() as started:
            await page.get_by_text("Download the mail").click()
        assert (await (await started.value).path()).read_bytes() == raw
        for borrower, said in (
            ("B-9", "No message was sent to this borrower"),
            ("B-1001", "Nothing waits for review."),
        ):
            await page.goto("/desk/reviews")
            await page.get_by_label("Borrower's id").fill(borrower)
            await page.locator("#refuse-1").fill("the number is in the mail")
            await page.locator("#refuse-1").press("Enter")
            await expect(page.locator("main")).to_contain_text(said)
        await page.goto(PATH)
        await expect(page.locator("ol.timeline")).to_contain_text("A person found the report to be about this borrower")


async def test_every_page_of_the_desk_keeps_to_wcag(office: DeskOffice) -> None:
    """Search, record with its forms open, and reviews, in four looks and two languages."""
    async with office.window() as page:
        await office.enter(page, "compliance")
        await look(page, "desk")
        await page.goto(PATH)
        await look(page, "desk-borrower")
        await page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        await look(page, "desk-borrower-open")
        await page.goto("/desk/reviews")
        await look(page, "desk-reviews")
        await page.goto(f"/language/zh?back={PATH}")
        await look(page, "desk-borrower-zh")
