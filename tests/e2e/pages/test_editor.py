"""The editor's page in a browser: from writing a draft to the message on the borrower's phone."""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.support.pages.accessibility import look, violations
from tests.support.pages.browser import PASSWORD
from tests.support.pages.editor_office import TEMPLATE, EditorOffice, field, press, tab_to
from tests.support.pages.editor_pages import stage
from tests.support.waiting import LIMIT_SECONDS
from tests.support.whole_gateway import Running

SMS = "#text-en-US_sms_liquid"
PHONE = "+12025550123"  # reserved for fiction
_DARK = re.compile(r"^rgb\((?:[0-5]?\d|6[0-3])(?:, (?:[0-5]?\d|6[0-3])){2}\)$")  # each part below 64


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def office(house: tuple[Running, Browser]) -> EditorOffice:
    """A lender with two editors and an approver, and nothing written yet."""
    made = EditorOffice(f"t{os.urandom(4).hex()}", *house)
    users, now = made.running.gateway.ledger.users, made.running.gateway.ledger.clock()
    tests = {"sms": PHONE, "email": made.email("mei")}
    for name, role in (("Mei Lin", "editor"), ("Ana Ruiz", "editor"), ("Tom Hale", "approver")):
        email = made.email(name.split()[0].lower())
        await users.add(made.tenant, name, email, role, PASSWORD, now, tests)
    return made


async def _append(page: Page, words: str) -> None:
    """Type at the end of the SMS, and wait for the preview of it."""
    await field(page, SMS).press("Control+End")
    async with page.expect_response("**/preview"):
        await field(page, SMS).press_sequentially(words)


async def test_a_text_goes_from_the_first_letter_to_the_borrower_and_back(office: EditorOffice) -> None:
    """Written, previewed, mended where the lint says, approved by another, published, sent, rolled back."""
    before = await office.sent_version()
    async with office.window() as mei, office.window() as tom:
        await office.enter(mei, "mei")
        await mei.get_by_role("link", name="First reminder after the due date").click()
        await mei.get_by_role("button", name="New version").click()

        # The preview follows what is typed; a mistake is shown at its line.
        await _append(mei, "\nThank you.")
        await expect(mei.locator("#shown-sms .bubble").last).to_contain_text("Thank you.")
        await _append(mei, "\n{{ nothing }}")
        finding = mei.locator("#found-en-US_sms_liquid li.error")
        await expect(finding).to_contain_text("Line 3")
        await expect(mei.locator(f".code:has({SMS}) .cm-line.error")).to_have_text("{{ nothing }}")
        await mei.get_by_role("button", name="Submit for approval").click()
        await expect(mei.get_by_role("alert")).to_contain_text("errors")

        await field(mei, SMS).press("Control+End")
        for _ in "\n{{ nothing }}":
            await mei.keyboard.press("Backspace")
        await expect(finding).to_have_count(0)
        await mei.get_by_label("Comment").fill("friendlier")
        await mei.get_by_role("button", name="Submit for approval").click()
        await expect(mei.get_by_role("status")).to_contain_text("Submitted")
        await expect(mei.get_by_role("button", name="Approve")).to_have_count(0)

        await office.enter(tom, "tom", f"{TEMPLATE}/1/changes")
        await expect(tom.locator("ins").first).to_contain_text("Thank you.")
        await tom.get_by_role("button", name="Approve").click()
        assert await office.sent_version() == before  # approved is not live
        await tom.get_by_role("button", name="Publish").click()
        await expect(tom.get_by_role("status")).to_contain_text("Published")

        after = await office.sent_version()
        assert after["version"].startswith("e1-")
        assert after["state"] == "delivered"

        await tom.goto(TEMPLATE)
        await tom.get_by_label("Comment").fill("too friendly")
        await tom.get_by_role("button", name="Roll back").click()
        await expect(tom.get_by_role("status")).to_contain_text("Rolled back")
        assert await office.sent_version() == before
        history = tom.locator(".history li")
        await expect(history.first).to_contain_text("Tom Hale rolled back")
        await expect(tom.locator(".history")).to_contain_text("friendlier")


async def test_what_is_sent_while_a_preview_still_waits_is_sent_once(office: EditorOffice) -> None:
    """A button pressed right after a letter: the form goes once, and the waiting preview stays a preview."""
    async with office.window() as mei:
        await office.draft(mei)
        sent, previewed = [], asyncio.Event()

        async def hold(route: Route) -> None:
            sent.append(route.request.url)
            await asyncio.wait_for(previewed.wait(), LIMIT_SECONDS)
            await route.continue_()

        await mei.route("**/submit", hold)
        async with mei.expect_request("**/preview", timeout=LIMIT_SECONDS * 1000):
            await mei.get_by_label("Comment").evaluate(
                """comment => {
                    comment.value = "friendlier";
                    comment.dispatchEvent(new Event("input", { bubbles: true }));
                    comment.form.querySelector("[formaction$='/submit']").click();
                }"""
            )
        previewed.set()
        await expect(mei.get_by_role("status")).to_contain_text("Submitted")
        assert len(sent) == 1


async def test_a_new_template_begins_as_a_draft(office: EditorOffice) -> None:
    """By a form: for a purpose, or with another template's words; an id that is taken is refused, and none is made."""
    async with office.window() as mei:
        await office.enter(mei, "mei")
        await mei.get_by_role("link", name="New template").click()
        await mei.get_by_label("Something else").check()
        await mei.get_by_text("Type of message and text for something else").click()
        await mei.get_by_label("Service confirms").check()
        await mei.get_by_label("Start from").select_option(label="Apology to a wrong contact")
        await mei.get_by_label("Title").fill('A "kind" word')
        await mei.get_by_role("textbox", name="ID").fill("overdue-first")
        await mei.get_by_label("Chinese (Taiwan)").check()
        await mei.get_by_label("English (US)").check()
        await mei.get_by_label("E-mail").uncheck()
        await mei.get_by_role("button", name="Create draft").click()
        await expect(mei.get_by_role("alert")).to_contain_text("already in use")
        assert await mei.get_by_label("Chinese (Taiwan)").is_checked()
        await mei.get_by_role("textbox", name="ID").fill("")
        await mei.get_by_role("button", name="Create draft").click()

        await mei.wait_for_url("**/editor/templates/a-kind-word/1?done=create*")
        await expect(mei.get_by_role("status")).to_contain_text("Draft created")
        await expect(mei.get_by_role("tab")).to_have_count(2)
        await expect(mei.locator("#shown-sms .bubble")).to_contain_text("our message was not meant for you")
        await mei.get_by_role("button", name="Submit for approval").click()
        await expect(mei.get_by_role("status")).to_contain_text("Submitted")
        await mei.goto("/editor?q=kind")
        await expect(mei.locator(".entry")).to_contain_text(["Not live"])


async def test_from_nothing_to_the_borrowers_by_the_keyboard_alone(office: EditorOffice) -> None:
    """Two languages, three channels, no source and no mouse: for a purpose, sent back, explained, approved, sent."""
    async with office.window() as mei, office.window() as tom:
        await office.enter(mei, "mei")
        await press(mei, mei.get_by_role("link", name="New template"))
        await tab_to(mei, mei.get_by_role("radio").first)
        for _ in range(3):
            await mei.keyboard.press("ArrowDown")
        await expect(mei.get_by_label("Reminder of a promise to pay")).to_be_checked()
        await tab_to(mei, mei.get_by_label("Title"))
        await mei.keyboard.type("Promise, card")
        for change in (
            "English (US)",
            "Chinese (Taiwan)",
            "WhatsApp",
            "LINE",
        ):  # two languages more, two channels fewer
            await press(mei, mei.get_by_label(change, exact=True), "Space")
        await press(mei, mei.get_by_role("button", name="Create draft"))
        await mei.wait_for_url("**/editor/templates/promise-card/1?done=create*")
        await expect(mei.locator("#shown-sms .bubble").first).to_contain_text("thank you for telling us")

        # Her own words have a finding; she says why it needs no change.
        await tab_to(mei, field(mei, "#text-en-US_inapp_txt_liquid"))
        await mei.keyboard.press("Control+End")
        async with mei.expect_response("**/preview"):
            await mei.keyboard.type(" You must not worry.")
        await press(mei, mei.locator("#found-en-US_inapp_txt_liquid summary"))
        await tab_to(mei, mei.get_by_label("Reason, for the approver"))
        await mei.keyboard.type("It comforts; it demands nothing.")
        await mei.keyboard.press("Enter")
        await expect(mei.get_by_role("status")).to_contain_text("for the approver")
        await press(mei, mei.get_by_role("button", name="Submit for approval"))
        await expect(mei.get_by_role("status")).to_contain_text("Submitted")

        # Tom finds it in his queue, comments on words of it, and sends it back.
        await office.enter(tom, "tom")
        await press(tom, tom.get_by_role("link", name="Waiting for you"))
        await press(tom, tom.get_by_role("link", name="Promise, card"))
        await expect(tom.locator("main")).to_contain_text("It comforts; it demands nothing.")
        message = tom.get_by_role("article", name="In-app · English (US)")
        await press(tom, message.get_by_text("Comment on this message"))
        await tab_to(tom, message.get_by_label("About these words"))
        await tom.keyboard.type("must not worry")
        await tab_to(tom, message.get_by_label("Comment", exact=True))
        await tom.keyboard.type("Say what we do for them.")
        await press(tom, message.get_by_role("button", name="Add comment"))
        await expect(tom.get_by_role("status")).to_contain_text("Comment added")
        await press(tom, tom.get_by_role("button", name="Send back"))
        await expect(tom.get_by_role("alert")).to_contain_text("Say why")
        await tab_to(tom, tom.get_by_label("Comment", exact=True))
        await tom.keyboard.type("See my comment.")
        await press(tom, tom.get_by_role("button", name="Send back"))
        await expect(tom.get_by_role("status")).to_contain_text("Sent back")

        # Mei goes on from her own text, with his comment beside it.
        await press(mei, mei.get_by_role("link", name="Waiting for you"))
        await expect(mei.locator("main")).to_contain_text("See my comment.")
        await press(mei, mei.get_by_role("link", name="Promise, card"))
        await press(mei, mei.get_by_role("button", name="Continue from this text"))
        await expect(mei.get_by_role("region", name="Comments")).to_contain_text("Say what we do for them.")
        await tab_to(mei, field(mei, "#text-en-US_inapp_txt_liquid"))
        await mei.keyboard.press("Control+End")
        for _ in range(len(" You must not worry.")):
            await mei.keyboard.press("Backspace")
        await press(mei, mei.get_by_role("button", name="Submit for approval"))
        await expect(mei.get_by_role("status")).to_contain_text("Submitted")

        await press(tom, tom.get_by_role("link", name="Waiting for you"))
        await press(tom, tom.get_by_role("link", name="Promise, card"))
        await press(tom, tom.get_by_role("button", name="Approve"))
        await press(tom, tom.get_by_role("button", name="Publish"))
        await expect(tom.get_by_role("status")).to_contain_text("Published")

    variables = {"amount": "3913.00", "currency": "TWD", "promised_on": "2026-11-26"}
    for channel, locale in (("sms", "en-US"), ("email", "zh-TW"), ("inapp", "en-US")):
        sent = await office.sent_version(
            template="promise-card", variables=variables, route=[{"channel": channel}], locale=locale
        )
        assert sent["version"].startswith("e2-")
        assert sent["state"] == "delivered"


async def test_a_dear_character_is_replaced_and_words_are_put_in_at_one_click(office: EditorOffice) -> None:
    """The SMS says which character makes it UCS-2; a click mends it. Samples and variables are a click away as well."""
    async with office.window() as mei:
        await office.draft(mei)
        await _append(mei, " It’s fine.")
        await expect(mei.locator("#shown-sms .facts")).to_contain_text("UCS-2")
        await expect(mei.locator("#shown-sms")).to_contain_text("right single quotation mark")
        async with mei.expect_response("**/preview"):
            await mei.get_by_role("button", name="Replace with '").click()
        await expect(mei.locator("#shown-sms .facts")).to_contain_text("GSM-7")
        assert (await mei.locator(SMS).input_value()).endswith("It's fine.")

        await mei.get_by_text("Insert").click()
        async with mei.expect_response("**/preview"):
            await mei.locator(".inserts").get_by_role("button", name="borrower's name").click()
        assert (await mei.locator(SMS).input_value()).endswith("{{ borrower.name }}")

        await mei.get_by_role("button", name="Right-to-left name").click()
        await expect(mei.locator("#shown-sms")).to_contain_text("شهرزاد")
        await _append(mei, " No legal action")
        await mei.get_by_role("button", name="Replace with further steps").click()
        assert (await mei.locator(SMS).input_value()).endswith(" No further steps")
        await mei.get_by_role("tab", name="English (US)").press("End")
        await expect(mei.get_by_role("tab", name="Chinese (Taiwan)")).to_be_focused()
        await expect(mei.locator("#shown-inapp")).to_contain_text("$3,913.00")
        await expect(field(mei, "#text-zh-TW_sms_liquid")).to_be_visible()
        await expect(field(mei, SMS)).to_be_hidden()

        mail = mei.frame_locator("iframe.light").locator("body")
        await expect(mail).to_contain_text("$3,913.00")
        await mei.locator(".dark-on").check(force=True)
        dark = mei.frame_locator("iframe.dark").locator("body")
        # Waited for: the frame is loaded anew with each preview.
        await expect(dark).to_have_css("background-color", _DARK)
        await mei.get_by_role("button", name="Save").click()
        await expect(mei.get_by_role("status")).to_contain_text("Saved")


async def test_an_e_mail_is_written_with_suggestions_and_opened_as_source_and_back(office: EditorOffice) -> None:
    """By the keyboard alone: "{{" suggests variables, a condition goes around the chosen words; no word is lost."""
    mail = "#text-en-US_email_md_liquid"
    async with office.window() as mei:
        await office.draft(mei)
        written = await mei.locator(mail).input_value()
        await field(mei, mail).press("Control+Home")
        await field(mei, mail).press_sequentially("\n\n")
        await field(mei, mail).press("Control+Home")
        await field(mei, mail).press_sequentially("Due: ((due")
        await expect(mei.get_by_role("group", name="Suggestions")).to_be_visible()
        await field(mei, mail).press("ArrowDown")
        await expect(
            mei.get_by_role("group", name="Suggestions").get_by_role("button", name="due date")
        ).to_be_focused()
        assert await violations(mei) == []
        async with mei.expect_response("**/preview"):
            await mei.keyboard.press("Enter")
        await expect(field(mei, mail)).to_be_focused()
        assert (await mei.locator(mail).input_value()) == f"Due: {{{{ due_date | date }}}}\n\n{written}"
        await expect(mei.frame_locator("iframe.light").locator("body")).to_contain_text("Due: November 1, 2026")

        await mei.get_by_text("Insert").click()
        await field(mei, mail).press("Shift+Home")
        await mei.locator(".inserts").get_by_role("button", name="only if a payment link is given").click()
        with_condition = await mei.locator(mail).input_value()
        assert with_condition.startswith("{% if pay_url %}Due: {{ due_date | date }}{% endif %}\n")

        await mei.get_by_role("button", name="Open the source").click()
        await expect(mei.locator("#text-en-US_email_mjml_liquid")).to_have_value(re.compile("<mj-text>Due: "))
        await mei.get_by_role("button", name="Write in Markdown").click()
        await expect(mei.locator(mail)).to_have_value(with_condition)

        await mei.get_by_role("button", name="Open the source").click()
        source = mei.locator("#text-en-US_email_mjml_liquid")
        await source.fill((await source.input_value()).replace("<mj-text>Dear", "<mj-spacer /><mj-text>Dear"))
        await mei.get_by_role("button", name="Write in Markdown").click()
        await expect(mei.get_by_role("alert")).to_contain_text("without loss")
        await expect(mei.get_by_role("alert")).to_contain_text("<mj-spacer />")
        await expect(source).to_have_value(re.compile("mj-spacer"))


async def test_a_variable_is_declared_by_a_form(office: EditorOffice) -> None:
    """Without a line of TOML: named, described, used at a click; one that lacks an example is refused with words."""
    async with office.window() as mei:
        await office.draft(mei)
        await mei.get_by_text("what case systems send for this template").click()
        await mei.locator("#variable-name").fill("late_fee")
        await mei.get_by_role("button", name="Add or change variable").click()
        await expect(mei.get_by_role("alert")).to_contain_text("an example")
        await mei.get_by_text("what case systems send for this template").click()
        await mei.locator("#variable-name").fill("late_fee")
        await mei.locator("#variable-type").select_option("money")
        await mei.locator("#variable-example").fill("12.00")
        await mei.locator("#variable-description").fill("what is charged for the delay")
        await mei.locator("#variable-description").press("Enter")
        await expect(mei.get_by_role("status")).to_contain_text("Saved")
        await mei.get_by_text("Insert").click()
        await field(mei, SMS).press("Control+End")
        async with mei.expect_response("**/preview"):
            await mei.get_by_role("button", name="late fee", exact=True).click()
        assert (await mei.locator(SMS).input_value()).endswith("{{ late_fee | money: currency }}")


async def test_two_at_once_lose_nothing(office: EditorOffice) -> None:
    """The second to save is shown both texts; what only one of them changed is kept without a question."""
    async with office.window() as mei, office.window() as ana:
        await office.draft(mei)
        await office.enter(ana, "ana", f"{TEMPLATE}/1")
        title = "#text-en-US_inapp_title_liquid"
        await field(mei, SMS).press("Control+End")
        await field(mei, SMS).press_sequentially(" From Mei.")
        await field(mei, title).fill("A word about your account")
        await mei.get_by_role("button", name="Save").click()
        await expect(mei.get_by_role("status")).to_contain_text("Saved")

        await field(ana, SMS).press("Control+End")
        await field(ana, SMS).press_sequentially(" From Ana.")
        await ana.get_by_role("button", name="Save").click()
        await expect(ana.get_by_role("alert")).to_contain_text("Mei Lin saved this draft")
        await expect(ana.locator("del")).to_contain_text("Mei")
        await ana.get_by_label("Your version").fill(
            (await ana.get_by_label("Mei Lin's version").input_value()) + " From Ana."
        )
        await ana.get_by_role("button", name="Save my version").click()
        await expect(ana.get_by_role("status")).to_contain_text("Saved")
        assert (await ana.locator(SMS).input_value()).endswith("From Mei. From Ana.")
        assert await ana.locator(title).input_value() == "A word about your account"


async def test_a_test_message_goes_to_the_editor(office: EditorOffice) -> None:
    """Marked, to the address that the administrator vouched for, and nowhere else."""
    async with office.window() as mei:
        await office.draft(mei)
        world = office.running.gateway.providers.simulators
        assert world is not None
        before = (await world.summary())["sms"]["messages"]
        await mei.locator("#shown-sms").get_by_role("button", name="Send me a test").click()
        await expect(mei.get_by_role("alert")).to_contain_text("Test message sent to")
        assert (await world.summary())["sms"]["messages"] == before + 1


# ── every page, as people see it ────────────────────────────────────────────────────────────────────────────────────


async def test_every_page_keeps_to_wcag(office: EditorOffice) -> None:
    """On a desktop and a phone, light and dark, axe finds nothing against A and AA, and no page scrolls sideways.

    With GATEWAY_TEST_SCREENSHOTS=FOLDER, each page's pictures are left there to be looked at.
    """
    async with office.window() as page:
        show = partial(look, page)
        await page.goto("/editor")
        await show("sign-in")
        pages = await stage(office)
        await office.enter(page, "tom")
        for name, path in pages.items():
            await page.goto(path)
            await show(name)
        await page.goto(pages["demanding"])
        await page.get_by_role("button", name="Publish").click()
        await show("confirm")
        await page.context.clear_cookies()
        await office.enter(page, "mei", "/editor/new")
        await show("new")
        await page.goto(f"{TEMPLATE}/2")
        await show("draft")
        await _append(page, "\nIt’s {{ nothing }} or we will sue you.")
        await show("draft-errors")
        await _changed_by_ana(office)
        await page.get_by_role("button", name="Save").click()
        await show("conflict")
        await page.goto(f"/language/zh?back={TEMPLATE}/2%3Flocale=zh-TW")
        await field(page, "#text-zh-TW_sms_liquid").press_sequentially("{{ nothing }}")
        await expect(page.locator("#found-zh-TW_sms_liquid")).to_contain_text("未知变量 'nothing'")
        await show("draft-zh")
        await page.goto(f"{TEMPLATE}/1/changes")
        await show("changes-zh")
        await page.goto("/editor/nowhere")
        await show("nothing")
        await page.goto(f"{TEMPLATE}/2?locale=en-US")
        await page.context.clear_cookies()
        await field(page, SMS).fill("My own words.")
        await page.locator("#save").click()
        await expect(page.locator("textarea")).to_have_count(1)  # what was not touched is no loss
        await show("signed-out")


_PAGE = """<!doctype html><html lang="en"><title>A page</title><style>
:root { color-scheme: light dark; } body { color: #222; background: #fff; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111; } }
</style><style>%s</style><main><h1>A page</h1><p>With some words, and <a href="/">a link</a>.</p></main></html>"""


@pytest.mark.parametrize(
    ("faulty", "rule"),
    [
        ("p { color: #999; }", "desktop-light.*color-contrast"),
        ("@media (prefers-color-scheme: dark) { p { color: #555; } }", "desktop-dark.*color-contrast"),
        ("@media (max-width: 600px) { p { color: #aaa; } }", "phone-light.*color-contrast"),
        (
            "@media (max-width: 600px) and (prefers-color-scheme: dark) { main { background: #888; } }",
            "phone-dark.*color-contrast",
        ),
        ("a { color: #444; text-decoration: none; }", "desktop-light.*link-in-text-block"),
        ("@media (max-width: 600px) { p { width: 500px; } }", "phone-light scrolls sideways"),
    ],
)
async def test_a_page_that_is_bad_in_one_look_alone_is_found(office: EditorOffice, faulty: str, rule: str) -> None:
    """What a phone shows as a desktop does is not judged again; what differs is."""
    async with office.window() as page:
        await page.set_content(_PAGE % "")
        await look(page, "good")
        await page.set_content(_PAGE % faulty)
        with pytest.raises(AssertionError, match=rule):
            await look(page, "bad")


async def _changed_by_ana(office: EditorOffice) -> None:
    """A colleague saves the same text of the draft meanwhile."""
    editing, tenant = office.running.gateway.editor.workflow, office.tenant
    [ana] = [each for each in await office.running.gateway.ledger.users.list(tenant) if each.name == "Ana Ruiz"]
    draft = await editing.text(tenant, "overdue-first", 2)
    assert draft.stored is not None
    files = {**draft.files, "en-US/sms.liquid": draft.files["en-US/sms.liquid"].replace("Thank you", "Many thanks")}
    await editing.save(tenant, "overdue-first", 2, draft.stored.revision, files, ana.actor, "warmer")
