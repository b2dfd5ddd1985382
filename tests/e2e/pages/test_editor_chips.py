"""The editor's fields in a browser: chips in the place of Liquid, by mouse and keyboard; the source stays as it was."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.pages.accessibility import look
from tests.support.pages.browser import PASSWORD, window
from tests.support.pages.editor_office import TEMPLATE, EditorOffice, field, tab_to
from tests.support.whole_gateway import Running

SMS, MAIL = "#text-en-US_sms_liquid", "#text-en-US_email_md_liquid"
_MOST_STEPS = 500  # our choice: more than the text has characters
SHIPPED = Path(__file__).parents[3] / "templates"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def office(house: tuple[Running, Browser]) -> EditorOffice:
    """A lender with an editor and a viewer."""
    made = EditorOffice(f"t{os.urandom(4).hex()}", *house)
    users, now = made.running.gateway.ledger.users, made.running.gateway.ledger.clock()
    for name, role in (("Mei Lin", "editor"), ("Vera Noor", "viewer")):
        await users.add(made.tenant, name, made.email(name.split()[0].lower()), role, PASSWORD, now)
    return made


def _chip(page: Page, area: str, name: str) -> Locator:
    return field(page, area).get_by_role("button", name=name)


async def _source(page: Page, area: str = SMS) -> str:
    return await page.locator(area).input_value()


async def _go_to(page: Page, arrow: str, words: str) -> None:
    """Move by an arrow key to the chip whose name has these words, as it is read out."""
    for _ in range(_MOST_STEPS):
        if words in await page.locator("#announced").inner_text():
            return
        await page.keyboard.press(arrow)
    raise AssertionError(f"no chip is called {words}")


async def test_a_text_is_shown_as_words_and_saved_as_it_was(office: EditorOffice) -> None:
    """Variables with their value, conditions as a sentence, shared texts with their words; no byte of it changes."""
    async with office.window() as mei:
        await office.draft(mei)
        before = await office.running.gateway.editor.workflow.text(office.tenant, "overdue-first", 1)
        sms = field(mei, SMS)
        await expect(sms).to_be_visible()
        await expect(mei.locator(SMS)).to_be_hidden()
        for name in (
            "amount, shown as $3,913.00",
            "due date, shown as Nov 1, 2026",
            "Show this only if a payment link is given",
            "End of: Show this only if a payment link is given",
            "Shared text: Need help? https://example.com/help or +1 202 555 0100.",
        ):
            await expect(_chip(mei, SMS, name).first).to_be_visible()
        for shown in await mei.locator(".cm-content").all():
            assert "{" not in await shown.inner_text()

        await sms.press("Control+End")
        await mei.keyboard.type(" Thanks.")
        await mei.locator("#save").click()
        await expect(mei.get_by_role("status")).to_contain_text("Saved")
        after = await office.running.gateway.editor.workflow.text(office.tenant, "overdue-first", 1)
        changed = {name: text for name, text in after.files.items() if before.files[name] != text}
        assert changed == {"en-US/sms.liquid": before.files["en-US/sms.liquid"].rstrip("\n") + " Thanks.\n"}


async def test_chips_are_changed_and_removed_by_the_mouse(office: EditorOffice) -> None:
    """Another format by its look, a condition turned round and taken away without its words, a shared text removed."""
    async with office.window() as mei:
        await office.draft(mei)
        before, menu = await _source(mei), mei.get_by_role("dialog")
        await _chip(mei, SMS, "due date").click()
        await expect(menu.get_by_role("button", name="Nov 1, 2026")).to_have_attribute("aria-pressed", "true")
        await look(mei, "chip-menu")
        async with mei.expect_response("**/preview"):
            await menu.get_by_role("button", name="Sunday, November 1, 2026").click()
        await expect(mei.locator("#shown-sms .bubble")).to_contain_text("Sunday, November 1, 2026")
        assert await _source(mei) == before.replace("date: 'medium'", "date: 'full'")

        await _chip(mei, SMS, "amount").click()
        await menu.get_by_role("button", name="$3,913", exact=True).first.click()
        assert "{{ amount | money: currency, 'whole' }} was due" in await _source(mei)
        await mei.keyboard.press("Control+Z")

        await _chip(mei, SMS, "Show this only if a payment link is given").first.click()
        await menu.get_by_role("button", name="Show this only if a payment link is not given").click()
        assert "{% unless pay_url %} Pay here: {{ pay_url }}{% endunless %}" in await _source(mei)
        await _chip(mei, SMS, "End of:").click()
        await menu.get_by_role("button", name="Remove the condition, keep its words").click()
        assert "'full' }}. Pay here: {{ pay_url }} {% render" in await _source(mei)
        await expect(mei.locator("#announced")).to_contain_text("Removed: Show this only if")
        await mei.keyboard.press("Control+Z")
        await _chip(mei, SMS, "Show this only if").first.click()
        await menu.get_by_role("button", name="Remove the condition with its words").click()
        assert "'full' }}. {% render 'help-short' %}" in await _source(mei)

        await _chip(mei, SMS, "Shared text: Need help?").click()
        await menu.get_by_role("button", name="Remove").click()
        assert "help-short" not in await _source(mei)
        for _ in range(4):
            await mei.keyboard.press("Control+Z")
        assert await _source(mei) == before


async def test_chips_are_reached_and_changed_by_the_keyboard(office: EditorOffice) -> None:
    """An arrow picks the chip and says its name, Enter opens it, Delete removes it, and half a condition isn't left."""
    async with office.window() as mei:
        await office.draft(mei)
        before, said = await _source(mei), mei.locator("#announced")
        await tab_to(mei, field(mei, SMS))
        await mei.keyboard.press("Control+Home")
        await mei.keyboard.press("ArrowRight")
        await expect(said).to_have_text(
            "Shared text: Example Bank, ref C-1001:. Enter to change it, Delete to remove it."
        )
        await mei.keyboard.press("Delete")
        assert await _source(mei) == before.removeprefix("{% render 'sign-sms' %}")
        await mei.keyboard.press("Control+Z")

        await mei.keyboard.press("Control+End")
        await _go_to(mei, "ArrowLeft", "due date")
        await mei.keyboard.press("Enter")
        await expect(mei.get_by_role("dialog").get_by_role("button", name="Nov 1, 2026")).to_be_focused()
        await mei.keyboard.press("ArrowUp")
        await mei.keyboard.press("Enter")
        await expect(field(mei, SMS)).to_be_focused()
        assert await _source(mei) == before.replace("'medium'", "'day'")

        await mei.keyboard.press("Control+Home")
        await _go_to(mei, "ArrowRight", "a payment link is given")
        await mei.keyboard.press("Backspace")
        assert "'day' }}. Pay here: {{ pay_url }} {%" in await _source(mei)
        await mei.keyboard.press("Control+Z")
        await mei.keyboard.press("Control+Z")
        assert await _source(mei) == before
        await mei.keyboard.press("Control+End")
        await mei.keyboard.press("Enter")  # no chip is picked: a new line
        assert (await _source(mei)).count("\n") == before.count("\n") + 1


async def test_what_is_no_chip_stays_source(office: EditorOffice) -> None:
    """A condition that compares, an unknown name and half a tag are shown as written; all is, under "Source"."""
    odd = "{% if days > 3 %}x{% endif %} {{ nothing }} {{ amount {% endif %} {{amount|money:currency}}"
    async with office.window() as mei:
        await office.draft(mei)
        source = mei.get_by_role("button", name="Source", exact=True)
        await source.click()
        await expect(field(mei, SMS)).to_be_hidden()
        await mei.locator(SMS).fill(odd)
        await mei.reload()
        await expect(mei.locator(SMS)).to_be_visible()  # who asks for source gets it on the next page, too
        await mei.locator(SMS).fill(odd)
        await source.click()
        words = await field(mei, SMS).inner_text()
        assert words.startswith("{% if days > 3 %}x{% endif %} {{ nothing }} {{ amount {% endif %} amount")
        await expect(field(mei, SMS).locator(".chip")).to_have_count(1)
        assert await _source(mei) == odd


async def test_chinese_is_typed_and_suggested_beside_chips(office: EditorOffice) -> None:
    """An input method composes beside a chip without harm; the double bracket of Chinese keyboards suggests names."""
    async with office.window() as mei:
        await office.draft(mei)
        await mei.goto(f"/language/zh?back={TEMPLATE}/1%3Flocale=zh-TW")
        area = "#text-zh-TW_sms_liquid"
        before = await _source(mei, area)
        await field(mei, area).press("Control+End")
        keyboard = await mei.context.new_cdp_session(mei)
        for words in ("ni", "nihao", "你好"):
            await keyboard.send(
                "Input.imeSetComposition", {"text": words, "selectionStart": len(words), "selectionEnd": len(words)}
            )
        await keyboard.send("Input.insertText", {"text": "你好"})
        assert await _source(mei, area) == f"{before}你好"
        await mei.keyboard.insert_text("（（到期")
        await expect(mei.get_by_role("group", name="建议")).to_be_visible()
        await mei.keyboard.press("Control+Home")  # the caret leaves what was typed, and its suggestions close
        await expect(mei.get_by_role("group", name="建议")).to_be_hidden()
        await mei.keyboard.press("Control+End")
        await mei.keyboard.press("Backspace")
        await mei.keyboard.insert_text("期")
        await mei.get_by_role("group", name="建议").get_by_role("button", name="到期日").click()
        assert await _source(mei, area) == f"{before}你好{{{{ due_date | date }}}}"
        await expect(_chip(mei, area, "到期日，显示为 2026年11月1日").last).to_be_visible()
        await look(mei, "chips-zh")


async def test_a_translation_is_written_beside_the_words_of_the_default_text(office: EditorOffice) -> None:
    """Both with chips, each with its own language's values; what is typed is saved, and nothing else changes."""
    area = "#text-sms_liquid"
    async with office.window() as mei:
        await office.draft(mei)
        await mei.goto(f"{TEMPLATE}/1/translations?locale=zh-TW")
        await expect(_chip(mei, area, "due date, shown as 2026年11月1日")).to_be_visible()
        words = mei.locator(f"section:has({area}) .for-chips")
        await expect(words).to_contain_text("due date Nov 1, 2026")
        assert "{" not in await words.inner_text()
        before = await _source(mei, area)
        await field(mei, area).press("Control+End")
        await mei.keyboard.insert_text("謝謝。")
        await look(mei, "chips-translations")
        await mei.get_by_role("button", name="Save").click()
        await expect(mei.get_by_role("status")).to_contain_text("Saved")
        assert await _source(mei, area) == f"{before}謝謝。"
        await mei.get_by_role("button", name="Source", exact=True).click()
        await expect(mei.locator(area)).to_be_visible()
        await expect(mei.locator(f"section:has({area}) .for-source")).to_contain_text("{{ due_date")


async def test_without_javascript_the_text_is_a_plain_field(office: EditorOffice) -> None:
    """The form's own textareas are shown and saved."""
    async with office.window() as mei:
        await office.draft(mei)
        state = await mei.context.storage_state()
    async with window(office.browser, office.running.url, java_script_enabled=False, storage_state=state) as mei:
        await mei.goto(f"{TEMPLATE}/1")
        await mei.locator(SMS).fill("Plain {{ amount | money: currency }}.")
        await mei.locator("#save").click()
        await expect(mei.get_by_role("status")).to_contain_text("Saved")
        await expect(mei.locator(SMS)).to_have_value("Plain {{ amount | money: currency }}.")


async def test_who_may_not_write_reads_chips(office: EditorOffice) -> None:
    """A viewer sees the same chips; they can be opened and read, and nothing changes."""
    async with office.window() as mei, office.window() as vera:
        await office.draft(mei)
        await office.enter(vera, "vera", f"{TEMPLATE}/1")
        before = await _source(vera)
        await _chip(vera, SMS, "due date").click()
        await expect(vera.get_by_role("dialog").get_by_role("button")).to_have_text(["Close"])
        await vera.keyboard.press("Escape")
        await vera.keyboard.press("Delete")
        await vera.keyboard.type("x")
        assert await _source(vera) == before
        await look(vera, "chips-viewer")


# ── round trip ──────────────────────────────────────────────────────────────────────────────────────────────────────

_PIECES = st.one_of(
    st.sampled_from(
        [
            *("{{ amount | money: currency }}", "{{amount|money:currency}}", '{{ due_date | date: "medium" }}'),
            *(
                "{% if pay_url %}",
                "{% endif %}",
                "{% else %}",
                "{% unless pay_url %}",
                "{% endunless %}",
                "{%if pay_url%}",
            ),
            *(
                "{% render 'help' %}",
                '{% render "sign-sms" %}',
                "{% render 'nothing' %}",
                "{{ days | plural: 'a', 'b' }}",
            ),
            *(
                "{% comment %}",
                "{% endcomment %}",
                "{{ nothing }}",
                "{{",
                "}}",
                "{%",
                "%}",
                "{{\namount }}",
                "\n",
                "| a |",
            ),
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=12),
)
_TEXTS = st.lists(_PIECES, max_size=25).map("".join)

# Each text is given as source, shown with chips, and touched once: a letter is written and taken back.
_ROUND_TRIP = """texts => {
    const area = document.querySelector("#text-en-US_sms_liquid"), source = document.querySelector("#as-source");
    const view = codemirror.EditorView.findFromDOM(area.parentElement), faults = [];
    for (const text of texts) {
        source.click();
        area.value = text;
        source.click();
        if (area.value !== text || view.state.doc.toString() !== text) faults.push(["shown", text, area.value]);
        view.dispatch({ changes: { from: 0, insert: "x" } });
        if (area.value !== `x${text}`) faults.push(["written", text, area.value]);
        view.dispatch({ changes: { from: 0, to: 1 } });
        if (area.value !== text) faults.push(["taken back", text, area.value]);
        for (const chip of area.parentElement.querySelectorAll(".chip")) {
            if (!chip.getAttribute("aria-label")) faults.push(["without a name", text, chip.outerHTML]);
        }
    }
    return faults;
}"""


async def _with_one_text(office: EditorOffice, template: str) -> None:
    """A draft with one field alone: each switch to the source and back draws every field of the page."""
    gateway = office.running.gateway
    [mei] = [each for each in await gateway.ledger.users.list(office.tenant) if each.name == "Mei Lin"]
    shipped = (SHIPPED / "overdue-first" / "template.toml", SHIPPED / "overdue-first" / "en-US" / "sms.liquid")
    files = {each.relative_to(SHIPPED / "overdue-first").as_posix(): each.read_text("utf-8") for each in shipped}
    await gateway.editor.workflow.begin(office.tenant, template, mei.actor, "", files)


async def test_every_text_comes_back_as_it_was(office: EditorOffice) -> None:
    """Any mix of tags, halves of tags and signs of the world, and every text that ships: byte for byte, all named."""
    loop = asyncio.get_running_loop()
    await _with_one_text(office, "one-text")
    async with office.window() as mei:
        await office.enter(mei, "mei", "/editor/templates/one-text/1")
        await expect(field(mei, SMS)).to_be_visible()
        shipped = [each.read_text("utf-8") for each in SHIPPED.rglob("*.liquid")]
        assert len(shipped) > 200
        assert await mei.evaluate(_ROUND_TRIP, shipped) == []

        @settings(max_examples=40, deadline=None)
        @given(st.lists(_TEXTS, min_size=1, max_size=10))
        def check(texts: list[str]) -> None:
            asked = asyncio.run_coroutine_threadsafe(mei.evaluate(_ROUND_TRIP, texts), loop)
            assert asked.result(300) == []

        await asyncio.to_thread(check)
