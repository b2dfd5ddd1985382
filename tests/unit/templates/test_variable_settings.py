"""Variables are declared by a form: the settings' other lines stay as they are."""

from __future__ import annotations

import tomllib

import pytest

from gateway.templates.language.source import SETTINGS
from gateway.templates.language.variables import VariableSpec
from gateway.templates.workflow.variable_settings import is_valid, with_variable, without_variable
from tests.support.templates.template_services import FOLDER

SPEC = VariableSpec("fee", "money", False, "12.00", 'a "late" fee \\ 費用')


@pytest.mark.parametrize("template", list(FOLDER.templates))
def test_a_variable_is_added_changed_and_removed(template: str) -> None:
    """What is added and removed again leaves the same settings; a change keeps its place and the others."""
    before = FOLDER.templates[template][SETTINGS]
    added = with_variable(before, SPEC)
    declared = tomllib.loads(added)["variables"]
    assert declared == {**tomllib.loads(before)["variables"], "fee": declared["fee"]}
    assert (declared["fee"]["required"], declared["fee"]["description"]) == (False, SPEC.description)
    assert tomllib.loads(without_variable(added, "fee")) == tomllib.loads(before)
    for name, each in tomllib.loads(before)["variables"].items():
        changed = with_variable(before, VariableSpec(name, "text", True, "x", "y"))
        assert list(tomllib.loads(changed)["variables"]) == list(tomllib.loads(before)["variables"])
        assert tomllib.loads(changed)["variables"][name] == {"type": "text", "example": "x", "description": "y"}
        left = tomllib.loads(without_variable(before, name))["variables"]
        assert left == {key: value for key, value in tomllib.loads(before)["variables"].items() if key != name}
        assert each["type"]


@pytest.mark.parametrize("name", ["", "Fee", "1st", "a b", "a]\n[x", "x" * 41])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """Nothing but a name can get into the settings' text."""
    assert is_valid(SPEC)
    assert not is_valid(VariableSpec(name, "text", True, "x", "y"))
