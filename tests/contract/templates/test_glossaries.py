"""A lender's glossary in the ledger: saved whole, by one person at a time, and asked for by the checks of its texts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.storage.database import Database
from gateway.templates.checks.glossary import GlossaryTerm
from gateway.templates.versions.refusals import BadTerm, GlossaryChanged
from gateway.templates.workflow.translations import TranslationState
from tests.support.templates.template_services import SMS, TEMPLATE, TemplateHarness

TERM = GlossaryTerm("bank", {"en": "lender"}, {"en": ["bank"]})


async def test_of_two_who_save_at_once_one_is_refused(database: Database) -> None:
    """Nothing is lost silently; another tenant's glossary is its own."""
    glossaries = TemplateHarness(database).workflow.glossaries
    results = await asyncio.gather(
        *(glossaries.save("acme", 0, [replace(TERM, id=f"bank-{each}")], "user:ann") for each in range(2)),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["Glossary", "GlossaryChanged"]
    assert (await glossaries.read("acme")).revision == 1
    await glossaries.save("acme", 1, [TERM], "user:ann")
    with pytest.raises(GlossaryChanged):
        await glossaries.save("acme", 1, [], "user:bob")
    assert (await glossaries.read("acme")).terms == (TERM,)
    assert (await glossaries.read("other")).terms == ()


@pytest.mark.parametrize(
    "wrong",
    [
        [TERM, TERM],
        [replace(TERM, id="Bank!")],
        [replace(TERM, words={})],
        [replace(TERM, words={"../x": "a"})],
        [replace(TERM, words={"en": " "})],
        [replace(TERM, words={"en": "x" * 81})],
        [replace(TERM, avoid={"en": ["a"] * 21})],
        [replace(TERM, id=f"t{each}") for each in range(201)],
    ],
)
async def test_what_is_wrong_is_refused_before_it_is_stored(database: Database, wrong: list[GlossaryTerm]) -> None:
    """A name, words by language, and bounds on all of them."""
    with pytest.raises(BadTerm):
        await TemplateHarness(database).workflow.glossaries.save("acme", 0, wrong, "user:ann")


async def test_the_checks_of_a_version_ask_for_the_words(database: Database) -> None:
    """Its own tenant's: as a warning with its place, which the author explains or mends. Translations are compared."""
    harness = TemplateHarness(database)
    await harness.workflow.glossaries.save("acme", 0, [TERM], "user:ann")
    number = await harness.submitted("your bank")
    text = await harness.workflow.text("acme", TEMPLATE, number)
    rules = [(each.finding.rule, each.finding.where) for each in await harness.workflow.reviews.findings(text)]
    assert rules == [("glossary_avoid", f"{TEMPLATE}/{SMS}")]
    found = await harness.workflow.translations("acme", text)
    older = {(locale, each.file) for locale, parts in found.items() for each in parts if each.state != "current"}
    assert older == {(locale, "sms.liquid") for locale in ("en-GB", "zh-CN", "zh-TW")}
    assert {each.state for each in found["zh-TW"]} == {TranslationState.CURRENT, TranslationState.OLDER}
