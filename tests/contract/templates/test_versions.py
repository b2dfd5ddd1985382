"""The life cycle of a template version in the ledger: permitted transitions, second person, scheduled publication."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from gateway.cli.ledger import evidence
from gateway.core.errors import RenderFailed, Unavailable, UnknownTemplate
from gateway.core.states import TEMPLATE_TRANSITIONS, TemplateState
from gateway.storage.database import Database
from gateway.storage.upgrade import migrate
from gateway.templates import Catalog
from gateway.templates.checks.lint import LintFinding
from gateway.templates.versions.published_store import Key, PublishedVersions, VersionSource
from gateway.templates.versions.refusals import (
    BadText,
    DraftExists,
    EditedMeanwhile,
    NeedsConfirmation,
    NoSuchVersion,
    NothingToRollBack,
    SamePerson,
    WrongState,
)
from gateway.templates.workflow.publication_watcher import PublicationWatcher
from tests.support.providers.channel_profiles import PROFILES
from tests.support.storage.ledgers import NOW, draft
from tests.support.templates.template_services import (
    AMERICAN,
    FOLDER,
    LENDER,
    SMS,
    TEMPLATE,
    TEMPLATES,
    TemplateHarness,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def harness(database: Database) -> TemplateHarness:
    """Templates as shipped, and nobody has edited anything."""
    return TemplateHarness(database)


async def test_a_version_goes_from_draft_to_live(harness: TemplateHarness, database: Database) -> None:
    """Each step is recorded with its actor and comment, the chain of events holds, and requests get the new words."""
    before = harness.live()
    number = await harness.published()
    live = harness.catalog.resolve("acme", TEMPLATE, None, NOW)
    assert live.version.startswith(f"e{number}-")
    assert live.version != before
    history = await harness.workflow.history("acme", TEMPLATE)
    assert [(each.kind, each.actor, each.comment) for each in history] == [
        ("template_begun", "user:ann", "shorter"),
        ("template_saved", "user:ann", ""),
        ("template_submitted", "user:ann", "please read"),
        ("template_approved", "user:bob", "good"),
        ("template_published", "user:bob", "go"),
    ]
    assert history[1].detail == {"revision": 2, "changed": [SMS]}
    assert (await evidence.verify(database)).broken == []


async def test_a_second_person_approves(harness: TemplateHarness) -> None:
    """Neither who submitted nor anyone who wrote in a version can approve it, whoever submitted it."""
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    key = ("acme", TEMPLATE, begun.number)
    await harness.workflow.save(*key, 1, {**begun.files, SMS: "by cat\n"}, "user:cat")
    await harness.workflow.submit(*key, 2, "user:dan", "ready")
    for wrote in ("user:ann", "user:cat", "user:dan"):
        with pytest.raises(SamePerson):
            await harness.workflow.approve(*key, wrote)
    approved = await harness.workflow.approve(*key, "user:bob")
    assert approved.editors == ("user:ann", "user:cat")
    assert (approved.submitted_by, approved.approved_by) == ("user:dan", "user:bob")


async def test_a_late_save_gets_the_present_text(harness: TemplateHarness) -> None:
    """Nothing is written over: the refusal has what is stored, and saving on top of it works."""
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    key = ("acme", TEMPLATE, begun.number)
    first, second = {**begun.files, SMS: "one\n"}, {**begun.files, SMS: "two\n"}
    await harness.workflow.save(*key, 1, first, "user:ann")
    with pytest.raises(EditedMeanwhile) as late:
        await harness.workflow.save(*key, 1, second, "user:cat")
    assert late.value.current.files == first
    assert late.value.current.stored.updated_by == "user:ann"
    saved = await harness.workflow.save(*key, late.value.current.stored.revision, second, "user:cat")
    assert saved.files == second
    with pytest.raises(DraftExists):
        await harness.workflow.begin("acme", TEMPLATE, "user:cat")


async def test_an_error_blocks_submitting_and_publishing(harness: TemplateHarness) -> None:
    """Also one that the lint did not know when the version was approved."""
    number = await harness.approved()
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    harness.findings = [LintFinding("error", "threat", f"{TEMPLATE}/{SMS}", 1, "threatens", "Don't.")]
    with pytest.raises(BadText):
        await harness.workflow.publish("acme", TEMPLATE, number, "user:bob", "go")
    with pytest.raises(BadText):
        await harness.workflow.submit("acme", TEMPLATE, begun.number, 1, "user:ann", "ready")
    assert await harness.state(number) is TemplateState.APPROVED
    assert await harness.state(begun.number) is TemplateState.DRAFT


async def test_every_process_follows(harness: TemplateHarness) -> None:
    """Another process has a publication and a roll-back after one look, and neither before it."""
    before = harness.live()
    number = await harness.published()
    assert harness.live(catalog=harness.other) == before
    await harness.watcher.run_once()
    assert harness.live(catalog=harness.other) == harness.live() != before
    assert harness.live("globex", harness.other) == before
    await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "wrong")
    await harness.watcher.run_once()
    assert harness.live(catalog=harness.other) == before
    assert await harness.state(number) is TemplateState.ROLLED_BACK


class _Newer(PublishedVersions):
    """A ledger whose tenants' texts use what this program does not know yet."""

    async def fetch(self, keys: Sequence[Key]) -> list[VersionSource]:
        found = await super().fetch(keys)
        return [replace(each, source=each.source.replace("lender.name", "lender.logo")) for each in found]


async def test_a_version_that_a_process_cannot_read_is_passed_over_and_counted(
    harness: TemplateHarness, database: Database
) -> None:
    """An older program keeps what was live before, says so in its figures, and takes the next one that it can read."""
    older = Catalog.load(TEMPLATES, lender=LENDER, profiles=PROFILES, versions=_Newer(database))
    watcher = PublicationWatcher(older, harness.store, harness.metrics, harness.clock)
    before = harness.live(catalog=older)
    await harness.published()
    await watcher.run_once()
    assert harness.live(catalog=older) == before
    assert _figure(harness, "gateway_templates_passed_over") == 1
    assert _figure(harness, "gateway_templates_last_refresh_timestamp_seconds") == harness.clock.now.timestamp()
    await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "half of the processes can't read it")
    await watcher.run_once()
    assert _figure(harness, "gateway_templates_passed_over") == 0


def _figure(harness: TemplateHarness, name: str) -> float | None:
    return harness.metrics.registry.get_sample_value(name)


async def test_a_plan_takes_effect_at_its_time_everywhere(harness: TemplateHarness) -> None:
    """In each process by itself, without a look at the ledger; it is written down once, by whoever comes first."""
    first = await harness.published("the first")
    number = await harness.approved("the second")
    await harness.workflow.publish("acme", TEMPLATE, number, "user:bob", "on Monday", NOW + HOUR, confirmed=True)
    await harness.watcher.run_once()
    assert harness.live().startswith(f"e{first}-")
    harness.clock.now = NOW + HOUR
    assert harness.live() == harness.live(catalog=harness.other)
    assert harness.live().startswith(f"e{number}-")
    with pytest.raises(UnknownTemplate):
        harness.other.resolve("acme", TEMPLATE, harness.live(), NOW + HOUR - timedelta(seconds=1))
    others = [PublicationWatcher(harness.other, harness.store, harness.metrics, harness.clock) for _ in range(5)]
    await asyncio.gather(*(each.run_once() for each in others))
    assert [await harness.state(each) for each in (first, number)] == [
        TemplateState.SUPERSEDED,
        TemplateState.PUBLISHED,
    ]
    history = await harness.workflow.history("acme", TEMPLATE, number)
    assert [each.kind for each in history][-2:] == ["template_scheduled", "template_published"]
    assert (history[-1].actor, history[-1].comment) == ("gateway", "as planned")
    assert (await harness.store.text(("acme", TEMPLATE, number))).stored.published_at == NOW + HOUR


async def test_roll_back_after_a_plan_that_nobody_noticed_yet(harness: TemplateHarness) -> None:
    """What was live by its plan is what is rolled back, though the ledger still had it as planned."""
    first = await harness.published("the first")
    number = await harness.approved("the second")
    await harness.workflow.publish("acme", TEMPLATE, number, "user:bob", "later", NOW + HOUR, confirmed=True)
    harness.clock.now = NOW + 2 * HOUR
    live = await harness.workflow.live("acme", TEMPLATE)
    assert live is not None
    assert live.number == number
    back = await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "wrong")
    assert back is not None
    assert back.number == first
    assert harness.live().startswith(f"e{first}-")


async def test_rolling_back_goes_back_step_by_step(harness: TemplateHarness) -> None:
    """To the version before, then to the one before that, then to the files; and to a given one, also a later one."""
    one, two = await harness.published("one"), await harness.published("two")
    back = [await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "wrong") for _ in range(2)]
    assert [each.number if each else 0 for each in back] == [one, 0]
    with pytest.raises(NothingToRollBack):
        await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "once more")
    three = await harness.published("three")
    again = await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "two was right", to=two)
    assert again is not None
    assert again.number == two
    assert await harness.state(three) is TemplateState.ROLLED_BACK
    with pytest.raises(NoSuchVersion):
        await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "what", to=99)
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    with pytest.raises(WrongState):
        await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "what", to=begun.number)


async def test_a_template_without_files_is_not_rolled_back_to_nothing(harness: TemplateHarness) -> None:
    """The first version of a tenant's own template has nothing before it; pausing is the way to stop it."""
    files = FOLDER.templates[TEMPLATE]
    told = await harness.transfer.import_template("acme", "our-own", files, "key:ci", "reviewed", publish=True)
    assert told.outcome == "published", told
    assert harness.catalog.resolve("acme", "our-own", None, NOW).version.startswith("e1-")
    with pytest.raises(NothingToRollBack):
        await harness.workflow.roll_back("acme", "our-own", "user:bob", "wrong")
    with pytest.raises(UnknownTemplate):
        harness.catalog.resolve("globex", "our-own", None, NOW)


async def test_what_was_accepted_renders_with_its_words(harness: TemplateHarness) -> None:
    """A superseded and a rolled-back version render on, where they were never seen live, for their tenant only."""
    await harness.published("the first")
    first = harness.live()
    await harness.published("the second")
    second = harness.live()
    await harness.workflow.roll_back("acme", TEMPLATE, "user:bob", "wrong")
    variables = {"amount": "1.00", "currency": "USD", "due_date": "2026-11-01"}
    accepted = replace(draft("k").notification, borrower=AMERICAN, variables=variables)
    for version, words in ((first, "the first"), (second, "the second")):
        await harness.other.ensure([("acme", TEMPLATE, version)])
        assert words in harness.other.render(replace(accepted, template_version=version), "sms").text
    await harness.other.ensure([("globex", TEMPLATE, first)])
    with pytest.raises(RenderFailed):
        harness.other.render(replace(accepted, tenant="globex", template_version=first), "sms")


async def test_publishing_over_somebody_elses_work_is_told(harness: TemplateHarness) -> None:
    """A version that was begun before another went live would undo it: that has to be confirmed."""
    old = await harness.approved("begun first")
    await harness.published("begun second")
    with pytest.raises(NeedsConfirmation) as refused:
        await harness.workflow.publish("acme", TEMPLATE, old, "user:bob", "go")
    assert [each.code for each in refused.value.warnings] == ["live_changed"]
    await harness.workflow.publish("acme", TEMPLATE, old, "user:bob", "go", confirmed=True)


async def test_import_never_writes_over_an_open_draft(harness: TemplateHarness) -> None:
    """It is refused for that template, and the draft is as it was."""
    begun = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    files = {**begun.files, SMS: "from outside\n"}
    for publish in (False, True):
        told = await harness.transfer.import_template("acme", TEMPLATE, files, "key:ci", "a review", publish=publish)
        assert told.outcome == "refused"
    assert (await harness.store.text(("acme", TEMPLATE, begun.number))).files == begun.files


# ── what holds whatever the code does ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE template_editions SET files = '{}'",
        "UPDATE template_editions SET source = ''",
        "UPDATE template_editions SET editors = '[]'",
        "UPDATE template_editions SET submitted_by = 'user:eve'",
        "UPDATE template_editions SET tenant = 'globex'",
        "UPDATE template_editions SET state = 'published'",
        "UPDATE template_editions SET state = 'draft'",
        "UPDATE template_editions SET approved_by = submitted_by, state = 'approved'",
        "DELETE FROM template_editions",
        "INSERT INTO template_editions SELECT tenant, template, 9, 'approved', 1, '', files, '', '', 0, '[]', 0, 0,"
        " '', '', '', NULL, NULL FROM template_editions",
    ],
)
async def test_the_database_refuses_what_no_verb_does(
    harness: TemplateHarness, database: Database, statement: str
) -> None:
    """A submitted text, its people and its steps are the same after any statement, on both databases."""
    number = await harness.submitted()
    before = await harness.store.text(("acme", TEMPLATE, number))
    with pytest.raises(Unavailable):
        await database.write(lambda connection: connection.execute(text(statement)))
    assert await harness.store.text(("acme", TEMPLATE, number)) == before
    assert len(await harness.store.listed("acme")) == 1


def test_the_triggers_know_the_same_moves() -> None:
    """The migration's list and the table in the model are one."""
    path = migrate.FOLDER / "versions" / "0005_template_editions.py"
    known = path.read_text("utf-8").partition("_MOVES = (")[2].partition("\n)")[0]
    words = set(known.replace('"', " ").split())
    assert words == {f"{here}>{there}" for here, moves in TEMPLATE_TRANSITIONS.items() for there in moves}


async def test_a_crash_in_the_middle_leaves_nothing_half_done(harness: TemplateHarness) -> None:
    """A process that dies while it publishes what was reviewed elsewhere leaves no draft, no number and no event."""

    def dies(number: int) -> tuple[str, str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await harness.store.publish_reviewed(
            "acme", TEMPLATE, FOLDER.templates[TEMPLATE], dies, "", "key:ci", "reviewed"
        )
    assert await harness.store.listed("acme") == []
    assert await harness.workflow.history("acme", TEMPLATE) == []
    assert (await harness.workflow.begin("acme", TEMPLATE, "user:ann")).number == 1
