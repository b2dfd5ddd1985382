"""The lint of journey definitions: what ships is clean, and each finding is made where it should be."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.journeys.definitions.lint import TemplateFacts, lint
from gateway.journeys.definitions.model import BadDefinition, parse
from gateway.templates.folder import Folder
from tests.support.journeys.cases import FOLDER, SHORT, START, shipped
from tests.support.rules.policy_cases import PACKS


def _templates() -> Mapping[str, TemplateFacts]:
    found = {}
    for name, source in Folder.read(FOLDER.parent).sources().items():
        locales = sorted({part.split("/")[0] for part in source.parts})
        channels = sorted({part.split("/")[1].split(".")[0] for part in source.parts})
        category, required = source.settings["category"], source.settings.get("must_arrive", False)
        found[name] = TemplateFacts(category, channels, locales, required)
    return found


TEMPLATES = _templates()


def rules_of(text: str) -> set[tuple[str, str]]:
    return {(each.rule, each.place) for each in lint(parse(text), TEMPLATES.get, PACKS, START)}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_what_ships_is_clean(name: str) -> None:
    """For all five jurisdictions: their locales, and their caps."""
    assert lint(shipped(name), TEMPLATES.get, PACKS, START) == []
    assert shipped(name).name == name


def test_the_example_of_these_tests_is_clean() -> None:
    assert rules_of(SHORT) == set()


_UNOFFERED = ("legal_before_offer", "legal")
_ARMS = '[[arm]]\nname = "a"\nshare = 0.5\n[[arm]]\nname = "b"\nshare = 0.5\n'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('template = "plan-offer"', 'template = "nothing"', ("unknown_template", "offer")),
        ('longest = "P2D"', 'longest = "P9D"', ("wait_too_long", "remind")),
        ("offer = { instalments = 3 }", "", ("legal_before_offer", "legal")),
        ('route = ["email"]', 'route = ["letter"]', ("template_lacks_channel", "offer")),
        ("day = 10", "day = 2", ("backward_day", "legal")),
        ("days_overdue = {", "age = {", ("unknown_fact", "enter")),
        ('id = "offer"', 'id = "remind"', ("duplicate_step", "remind")),
        ('needs = ["plan_offered", "no_hold"]', 'needs = ["no_hold"]', ("gate_needs", "legal")),
        ("day = 4", 'branch = [{ when = {}, to = "remind" }]\nday = 4', ("backward_branch", "offer")),
        ("day = 1\n", 'day = 1\nbranch = [{ when = {}, to = "legal" }]\n', ("unreachable_step", "offer")),
        ("day = 4", "", ("undated_step", "offer")),
        ("day = 4", 'after = "P1D"', ("wait_too_long", "remind")),
        ("day = 4", 'after = "P20D"', ("backward_day", "legal")),
        ("at_least = 1", "at_least = 1, at_most = 0", ("never_met", "enter")),
        ("day = 1\n", 'day = 1\nbranch = [{ when = { happened = "failed" }, to = "legal" }]\n', _UNOFFERED),
        ("day = 4", 'day = 4\narm = ["b"]', _UNOFFERED),
    ],
)
def test_each_fault_is_found(old: str, new: str, expected: tuple[str, str]) -> None:
    """One change of a clean definition, one finding."""
    assert old in SHORT
    assert expected in rules_of(SHORT.replace(old, new, 1) + _ARMS * ("arm =" in new))


def test_steps_of_different_arms_do_not_follow_each_other() -> None:
    """A wait is compared with the next step of the same arm, and a day as well; each arm has its own offer."""
    mine, other = 'day = 1\narm = ["a"]\n', 'day = 2\narm = ["b"]\n'
    text = SHORT.replace("day = 1\n", mine, 1)
    step = f'[[step]]\nid = "other"\n{other}template = "overdue-first"\nroute = ["sms"]\n'
    text = text.replace('[[step]]\nid = "offer"', f'{step}[[step]]\nid = "offer"', 1)
    assert rules_of(text.replace('"P2D"', '"P3D"', 1) + _ARMS) == set()


def test_a_step_that_may_be_left_out_is_no_dead_end() -> None:
    """Its branch is not taken then, and the next step follows."""
    branch = 'branch = [{ when = {}, to = "legal" }]\nwhen = { months_overdue = 1 }'
    text = SHORT.replace("day = 4", f"day = 4\n{branch}").replace(
        '[[step]]\nid = "legal"',
        '[[step]]\nid = "again"\nday = 6\ntemplate = "overdue-first"\nroute = ["sms"]\n[[step]]\nid = "legal"',
    )
    assert rules_of(text) == set()


def test_more_contacts_than_a_pack_allows_are_found() -> None:
    """Eight text messages in eight days: the shipped packs allow seven contacts of a case in seven days."""
    steps = "".join(
        f'[[step]]\nid = "s{day}"\nday = {day}\ntemplate = "overdue-first"\nroute = ["sms", "email"]\n'
        for day in range(1, 9)
    )
    found = rules_of('name = "many"\nenter = { when = { days_overdue = { at_least = 1 } } }\n' + steps)
    assert any(rule == "too_many_contacts" for rule, _ in found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("approvals = 2", "approvals = 1", "`int` >= 2"),
        ('longest = "P2D"', 'longest = "-P2D"', "between nothing"),
        ('longest = "P2D"', 'longest = "two days"', "duration"),
        ("day = 1\n", "day = 1\nwhy = 1\n", "unknown field `why`"),
    ],
)
def test_a_text_that_is_no_definition_is_refused_with_its_place(old: str, new: str, words: str) -> None:
    """Types, bounds and unknown names."""
    with pytest.raises(BadDefinition, match=words):
        parse(SHORT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('counts_from = "first_instalment"\n', ""),
        ("day = -2\n", 'after = "P1D"\n'),
        ('id = "before"', 'id = "a-very-long-name-of-a-reminder"'),
        ("day = -2\n", 'day = -2\nbranch = [{ when = {}, to = "before" }]\n'),
    ],
    ids=["no plan", "no day", "long id", "a branch"],
)
def test_a_step_of_each_instalment_is_dated_by_the_plan(before: str, after: str) -> None:
    """And stands by itself, with an id that has room for its date."""
    text = (FOLDER / "plan-reminders.toml").read_text("utf-8")
    assert before in text
    assert "instalments" in {rule for rule, _ in rules_of(text.replace(before, after))}
