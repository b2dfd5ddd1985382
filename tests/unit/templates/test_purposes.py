"""The purposes of new templates: data alone, each with a text that needs no work before it can be submitted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import policy
from gateway.templates import BadTemplate, TemplateVersion
from gateway.templates.checks.lint import lint
from gateway.templates.checks.word_lists import load_words
from gateway.templates.purposes import load_purposes
from gateway.templates.workflow.starting_texts import NewTemplate, starting_files
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.template_services import FOLDER, LENDER, TEMPLATES

CHANNELS = ["sms", "email", "inapp"]
LOCALES = ["en-US", "en-GB", "zh-CN", "zh-TW"]
ADDED = """
order = 5
category = "service"
default_locale = "en-US"
[title]
en = "Opening hours"
zh = "营业时间"
[what]
en = "When we are there."
zh = "何时有人接听。"
[variables.opens_on]
type = "date"
example = "2026-11-02"
description = "the day on which we open again"
[texts.en-US]
"sms.liquid" = "{{ lender.name }}: we are back on {{ opens_on | date }}.\\n"
"""


@pytest.mark.parametrize("name", list(FOLDER.purposes))
def test_a_purpose_s_text_has_no_finding_worth_a_second_look(name: str) -> None:
    """In all shipped languages and three channels: whoever starts from it can submit it as it is."""
    purpose = FOLDER.purposes[name]
    files = starting_files(NewTemplate("New", purpose.category, LOCALES, CHANNELS), PROFILES, purpose.files)
    version = TemplateVersion(FOLDER.source("new-one", files), LENDER, PROFILES)
    refuses = policy.refuses_text(policy.load_packs(TEMPLATES / "policies"), datetime(2026, 11, 24, tzinfo=UTC))
    found = lint(version, load_words(TEMPLATES / "_lint"), LENDER.name, refuses)
    assert [str(each) for each in found if each.level != "hint"] == []
    assert [each.name for each in purpose.variables] == list(version.variables)
    assert version.category == purpose.category
    assert sorted(version.channels) == sorted(CHANNELS)
    assert list(version.locales) == sorted(LOCALES)


def test_one_file_is_a_purpose(tmp_path: Path) -> None:
    """Nothing else is needed: it stands in its place of the order, and its text compiles in a language it lacks."""
    (tmp_path / "opening-hours.toml").write_text(ADDED, "utf-8")
    (tmp_path / "first.toml").write_text('order = 1\ntemplate = "due-soon"\n' + _words(ADDED), "utf-8")
    found = load_purposes(tmp_path, FOLDER.templates)
    assert list(found) == ["first", "opening-hours"]
    purpose = found["opening-hours"]
    assert (purpose.title, purpose.title.translations["zh"], purpose.what) == (
        "Opening hours",
        "营业时间",
        "When we are there.",
    )
    files = starting_files(NewTemplate("New", purpose.category, ["fr-CA"], ["sms"]), PROFILES, purpose.files)
    version = TemplateVersion(FOLDER.source("new-one", files), LENDER, PROFILES)
    assert "we are back on" in version.render("sms", "fr-CA", {"opens_on": "2026-11-02"}, "Ann").text


@pytest.mark.parametrize("broken", ["order = ", "order = 1", 'template = "due-soon"'])
def test_a_broken_purpose_is_named_at_the_start(tmp_path: Path, broken: str) -> None:
    """With its file's name: whoever runs the gateway knows where to look."""
    (tmp_path / "odd.toml").write_text(broken, "utf-8")
    with pytest.raises(BadTemplate, match=r"odd\.toml"):
        load_purposes(tmp_path, FOLDER.templates)


def _words(text: str) -> str:
    return text[text.index("[title]") : text.index("[variables")]


def test_a_folder_without_purposes_has_none(tmp_path: Path) -> None:
    """A lender's own folder may have been made before there were any, or lack the template that one begins from."""
    (tmp_path / "gone.toml").write_text('order = 1\ntemplate = "removed"\n' + _words(ADDED), "utf-8")
    assert load_purposes(tmp_path, FOLDER.templates) == {}
    assert load_purposes(tmp_path / "none", {}) == {}
    assert replace(FOLDER, purposes={}).templates == FOLDER.templates
