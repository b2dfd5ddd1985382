"""The life of a provider's template: entered, checked, submitted, approved, paused; on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from channels.base import Capability, SlotRules, TemplateReport, TemplateStatus
from gateway.cli.doctor import ledger
from gateway.core.provider_templates import STATUS_TRANSITIONS, Slot
from gateway.storage.database import Database
from gateway.templates.message_forms import MessageForms
from gateway.templates.versions.refusals import BadText, NeedsConfirmation, NoSuchVersion, WrongState
from gateway.templates.workflow.provider_templates import ProviderTemplates, ProviderTemplateView
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.template_services import SMS, TEMPLATE, TemplateHarness

WITH_WINDOW = {**PROFILES, "sms": replace(PROFILES["sms"], service_window=timedelta(hours=24))}
PROVIDERS: Any = {"meta": SimpleNamespace(name="meta", channel="sms", capability=Capability())}
PLACE = ("meta", "en-US")
WORDS = "please pay {{ amount | money: currency }} by {{ due_date | date }}"
APPROVED = TemplateStatus.APPROVED
NO_RULES = SlotRules()


def harness_on(database: Database, rules: SlotRules = NO_RULES) -> TemplateHarness:
    provider = SimpleNamespace(name="meta", channel="sms", capability=Capability(slots=rules))
    providers: Any = {"meta": provider}
    return TemplateHarness(database, WITH_WINDOW, providers)


async def entered(harness: TemplateHarness, number: int, **given: Any) -> ProviderTemplateView:
    values = {"reference": "due_soon", "language": "en", **given}
    return await harness.provider_templates.enter("acme", TEMPLATE, number, PLACE, "user:ann", **values)


async def reported(
    harness: TemplateHarness, number: int, status: TemplateStatus, reason: str = ""
) -> ProviderTemplateView:
    return await harness.provider_templates.report(
        "acme", TEMPLATE, number, PLACE, "user:bob", status=status, reason=reason
    )


async def test_text_and_slots_come_from_ours_and_say_the_same(database: Database) -> None:
    """The lender's name is fixed text, the variables are slots; an editor gives the provider's reference alone."""
    harness = harness_on(database)
    number = await harness.submitted(WORDS)
    made = await entered(harness, number)
    assert made.template is not None
    assert made.template.approved_text == "Example Bank: please pay {{amount}} by {{due_date}}"
    assert made.template.slots == (
        Slot("amount", "{{ amount | money: currency }}"),
        Slot("due_date", "{{ due_date | date }}"),
    )
    assert made.our_text == made.provider_text
    assert made.findings == ()
    assert made.template.status is TemplateStatus.DRAFT


async def test_its_states_are_recorded_with_reason_and_person(database: Database) -> None:
    """Submitted, approved, paused: each is in the template's history, with what the provider said."""
    harness = harness_on(database)
    number = await harness.submitted(WORDS)
    await entered(harness, number)
    for status in (TemplateStatus.SUBMITTED, APPROVED):
        await reported(harness, number, status)
    paused = await reported(harness, number, TemplateStatus.PAUSED, "low quality")
    assert paused.template is not None
    assert (paused.template.status, paused.template.reason) == (TemplateStatus.PAUSED, "low quality")
    assert paused.usable is False
    said = [
        (each.kind, each.actor, each.comment)
        for each in await harness.workflow.history("acme", TEMPLATE, number)
        if each.kind.startswith("provider_template")
    ]
    assert said == [
        ("provider_template_entered", "user:ann", ""),
        ("provider_template_submitted", "user:bob", ""),
        ("provider_template_approved", "user:bob", ""),
        ("provider_template_paused", "user:bob", "low quality"),
    ]


async def test_a_person_records_only_what_can_follow(database: Database) -> None:
    """The provider's own reports are taken as they come; a person's mistake is refused."""
    harness = harness_on(database)
    number = await harness.submitted(WORDS)
    await entered(harness, number)
    forms = MessageForms(database, WITH_WINDOW, harness.catalog, harness.clock, {})
    for before, after in product(TemplateStatus, TemplateStatus):
        await forms.report("meta", [TemplateReport("due_soon", before)])
        if after in STATUS_TRANSITIONS[before]:
            made = await reported(harness, number, after)
            assert made.template is not None
            assert made.template.status is after
        else:
            with pytest.raises(WrongState):
                await reported(harness, number, after)


@pytest.mark.parametrize(
    ("words", "given", "rules", "expected"),
    [
        (WORDS, {"text": "Bank: pay {{a}}", "slots": [Slot("a", "{{ amount }}")]}, NO_RULES, ["provider_text"]),
        (WORDS, {"text": "Example Bank {{b}}", "slots": []}, NO_RULES, ["provider_slots"]),
        (WORDS, {"text": "Bank", "slots": [Slot("a", "{{ amount }}")]}, NO_RULES, ["provider_slots", "provider_text"]),
        (WORDS, {"text": "Bank {{a}}", "slots": [Slot("a", "{{ nothing }}")]}, NO_RULES, ["provider_slots"]),
        ("pay {{ amount }} {{ due_date | date }}", {}, NO_RULES, ["provider_slots"]),
        (WORDS, {}, SlotRules(longest=6), ["provider_values"]),
        ("pay {{ amount }} here: {{ pay_url }}.", {}, SlotRules(links=False), ["provider_values"]),
        ("pay by {{ due_date | date }} here: {{ pay_url }}.", {}, NO_RULES, ["provider_values"]),  # optional
    ],
)  # fmt: skip
async def test_what_the_provider_would_refuse_is_found_and_can_not_be_submitted(
    database: Database, words: str, given: dict[str, Any], rules: SlotRules, expected: Sequence[str]
) -> None:
    """Another text, slots that don't fit it, adjacent ones, values that are too long, empty or links."""
    harness = harness_on(database, rules)
    number = await harness.submitted(words)
    made = await entered(harness, number, **given)
    assert sorted({each.rule for each in made.findings}) == sorted(expected)
    with pytest.raises(BadText):
        await reported(harness, number, TemplateStatus.SUBMITTED)


async def test_a_text_with_conditions_proposes_nothing(database: Database) -> None:
    """Each branch is a template of its own: text and slots are wanted then."""
    harness = harness_on(database)
    number = await harness.submitted("pay{% if pay_url %} here: {{ pay_url }}{% endif %}")
    with pytest.raises(BadText):
        await entered(harness, number)
    text = "Example Bank: pay{{rest}}"
    made = await entered(harness, number, text=text, slots=[Slot("rest", "{% if pay_url %} here{% endif %}")])
    assert made.findings


async def test_a_draft_of_ours_has_none_and_unknown_places_are_refused(database: Database) -> None:
    """The text could still change; the refusal names the places that there may be."""
    harness = harness_on(database)
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    with pytest.raises(WrongState):
        await entered(harness, begun.number, text="x", slots=[])
    number = begun.number
    for place in (("other", "en-US"), ("meta", "fr-FR")):
        with pytest.raises(NoSuchVersion, match="meta en-US"):
            await harness.provider_templates.enter("acme", TEMPLATE, number, place, "user:ann", reference="x")
    with pytest.raises(NoSuchVersion):
        await reported(harness, number, APPROVED)


async def test_publishing_names_the_channel_that_will_not_be_used(database: Database) -> None:
    """Confirmed, the version is live for its other channels; with an approved template nothing is to be confirmed."""
    harness = harness_on(database)
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    files = {name: text for name, text in begun.files.items() if not name.endswith("sms.liquid")}
    files |= {SMS: f"{{{{ lender.name }}}}: {WORDS}"}
    saved = await harness.workflow.save("acme", TEMPLATE, begun.number, 1, files, "user:ann")
    number = saved.number
    await harness.workflow.submit("acme", TEMPLATE, number, 2, "user:ann", "please read")
    await harness.workflow.approve("acme", TEMPLATE, number, "user:bob", "good")
    with pytest.raises(NeedsConfirmation) as refused:
        await harness.workflow.publish("acme", TEMPLATE, number, "user:bob", "go")
    [found] = refused.value.warnings
    assert found.code == "provider_template"
    assert found.detail == "SMS is not used for it in en-US: the template of meta is not usable (none)"
    await entered(harness, number)
    await reported(harness, number, TemplateStatus.SUBMITTED)
    await reported(harness, number, APPROVED)
    assert (await harness.workflow.publish("acme", TEMPLATE, number, "user:bob", "go")).published_at is not None


async def test_the_doctor_names_unusable_templates_of_versions_in_use(database: Database) -> None:
    """Those of a published version and of the built-in one; not those of what was replaced."""
    harness = harness_on(database)
    await entered(harness, 0, text="x", slots=[])
    [built_in] = await database.read(ledger.templates_of_providers)
    assert built_in.check == "provider_template.meta"
    number = await harness.published(WORDS)
    assert await database.read(ledger.templates_of_providers) == []  # the built-in version was replaced
    await entered(harness, number)
    await reported(harness, number, TemplateStatus.SUBMITTED)
    await reported(harness, number, TemplateStatus.REJECTED, "promotional")
    [found] = await database.read(ledger.templates_of_providers)
    assert "is rejected (promotional) since" in found.what
    await reported(harness, number, TemplateStatus.SUBMITTED)
    await reported(harness, number, APPROVED)
    assert await database.read(ledger.templates_of_providers) == []


async def test_without_such_a_provider_nothing_is_asked(database: Database) -> None:
    """Free text channels have no provider templates."""
    harness = TemplateHarness(database, PROFILES, PROVIDERS)
    assert harness.provider_templates.wanted is False
    number = await harness.submitted(WORDS)
    assert await harness.provider_templates.listed("acme", TEMPLATE, number) == []
    assert isinstance(harness.provider_templates, ProviderTemplates)


async def approved(harness: TemplateHarness, number: int) -> None:
    await entered(harness, number)
    for status in (TemplateStatus.SUBMITTED, APPROVED):
        await reported(harness, number, status)


async def known_of(harness: TemplateHarness, number: int) -> TemplateStatus | None:
    """The state of the provider's template of a version; None where it has none."""
    [view] = [
        each
        for each in await harness.provider_templates.listed("acme", TEMPLATE, number)
        if (each.provider, each.locale) == PLACE
    ]
    return view.template.status if view.template else None


async def test_a_version_with_the_same_words_takes_the_providers_template_along(database: Database) -> None:
    """Its approval is of words; both versions then follow what the provider says, and who sees it knows why."""
    harness = harness_on(database)
    first = await harness.published(WORDS)
    await approved(harness, first)
    second = await harness.submitted(WORDS)
    assert await known_of(harness, second) is APPROVED
    [change] = [
        each for each in await harness.workflow.history("acme", TEMPLATE, second) if "provider_template" in each.kind
    ]
    assert (change.kind, change.actor) == ("provider_template_carried", "user:ann")
    forms = MessageForms(database, WITH_WINDOW, harness.catalog, harness.clock, {})
    await forms.report("meta", [TemplateReport("due_soon", TemplateStatus.PAUSED)])
    assert [await known_of(harness, each) for each in (first, second)] == [TemplateStatus.PAUSED] * 2
    assert await harness.workflow.carry_over.to_version("acme", TEMPLATE, second, "user:ann") == 0  # there is one


async def test_a_version_with_other_words_has_its_template_to_be_entered(database: Database) -> None:
    """And one with the words of before gets the approved template back, not the newer one that was refused."""
    harness = harness_on(database)
    first = await harness.published(WORDS)
    await approved(harness, first)
    changed = await harness.published(f"kindly {WORDS}")
    assert await known_of(harness, changed) is None
    await entered(harness, changed, reference="kindly")
    restored = await harness.submitted(WORDS)
    [view] = [
        each for each in await harness.provider_templates.listed("acme", TEMPLATE, restored) if each.locale == PLACE[1]
    ]
    assert view.template is not None
    assert (view.template.reference, view.usable) == ("due_soon", True)


async def test_an_import_and_an_upgrade_take_it_along_too(database: Database) -> None:
    """Of a built-in version nobody submits anything: whoever starts with new files looks at what is live."""
    harness = harness_on(database)
    first = await harness.published(WORDS)
    await approved(harness, first)
    live = await harness.workflow.live("acme", TEMPLATE)
    assert live is not None
    files = {**live.files, "en-US/inapp.title.liquid": "Another title\n"}
    made = await harness.transfer.import_template(
        "acme", TEMPLATE, files, "user:ann", "reviewed", publish=True, confirmed=True
    )
    assert await known_of(harness, made.number) is APPROVED
    built_in = await harness.provider_templates.enter(
        "globex", TEMPLATE, 0, PLACE, "user:ann", reference="shipped", text="x", slots=[]
    )
    assert built_in.template is not None
    forms = MessageForms(database, WITH_WINDOW, harness.catalog, harness.clock, {})
    old = ("other", "meta", TEMPLATE, "1-of-before", "en-US")
    ours = "{{text}}"
    await forms.put(
        replace(built_in.template, key=old, approved_text=ours, slots=(Slot("text", await sms_of(harness)),))
    )
    for _ in range(2):
        await harness.workflow.carry_over.to_live_versions()
    [carried] = [each for each in await forms.listed("other", TEMPLATE) if each.key != old]
    assert carried.key[3] == (await harness.workflow.text("other", TEMPLATE, 0)).version


async def sms_of(harness: TemplateHarness) -> str:
    """The expression that says what the built-in text says."""
    return (await harness.workflow.text("other", TEMPLATE, 0)).files[SMS].strip()
