"""New templates for a purpose, in the ledger: what is refused, whose ids are made, and that the draft can be sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.storage.database import Database
from gateway.templates.versions.refusals import BadPlan, TemplateExists
from gateway.templates.workflow.new_templates import NewTemplateRequest, NewTemplates
from tests.support.templates.template_services import FOLDER, TemplateHarness

ASKED = NewTemplateRequest(
    "Promise, card", "promise-reminder", locales=("en-US", "zh-TW"), channels=("sms", "email", "inapp")
)


async def test_a_purpose_becomes_a_draft_that_goes_live(database: Database) -> None:
    """In two languages and three channels, by two persons, without a word changed; its id comes from its title."""
    harness = TemplateHarness(database)
    new = NewTemplates(harness.workflow, FOLDER.purposes)
    made = await new.create("acme", "user:ann", ASKED)
    assert (made.template, made.number) == ("promise-card", 1)
    assert made.stored is not None
    await harness.workflow.submit("acme", made.template, 1, made.stored.revision, "user:ann", "new")
    await harness.workflow.approve("acme", made.template, 1, "user:bob", "good")
    await harness.workflow.publish("acme", made.template, 1, "user:bob", "go")
    live = harness.catalog.resolve("acme", made.template, None, harness.clock())
    given = {"amount": "10.00", "currency": "USD", "promised_on": "2026-11-20"}
    assert "on November 20, 2026" in live.render("inapp", "en-US", given, "Ann").text
    assert "2026年11月20日" in live.render("email", "zh-TW", given, "Ann").html
    again = [(await new.create("acme", "user:ann", ASKED)).template for _ in range(2)]
    foreign = [(await new.create("acme", "user:ann", replace(ASKED, title="還款"))).template for _ in range(2)]
    assert again + foreign == ["promise-card-2", "promise-card-3", "promise-reminder", "promise-reminder-2"]
    with pytest.raises(TemplateExists):
        await new.create("acme", "user:ann", replace(ASKED, template="overdue-first"))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("title", {"title": "  "}),
        ("title", {"title": "x" * 81}),
        ("purpose", {"purpose": "no-such"}),
        ("purpose", {"purpose": ""}),
        ("locales", {"locales": ()}),
        ("locales", {"locales": ("../x",)}),
        ("channels", {"channels": ("sms", "pigeon")}),
        ("template", {"template": "Bad Id"}),
    ],
)
async def test_what_is_wrong_is_named_by_its_field(database: Database, field: str, wrong: dict[str, str]) -> None:
    """And nothing is stored."""
    harness = TemplateHarness(database)
    with pytest.raises(BadPlan) as refused:
        await NewTemplates(harness.workflow, FOLDER.purposes).create("acme", "user:ann", replace(ASKED, **wrong))  # type: ignore[arg-type]
    assert refused.value.field == field
    assert await harness.store.listed("acme") == []
