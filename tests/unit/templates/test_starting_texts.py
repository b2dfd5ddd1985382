"""The first text of a new template: what is copied from another one; the result compiles."""

from __future__ import annotations

import tomllib

import pytest

from gateway.templates import TemplateSource, TemplateVersion
from gateway.templates.language.source import SETTINGS
from gateway.templates.workflow.starting_texts import NewTemplate, starting_files
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.template_services import FOLDER, LENDER

PLAN = NewTemplate('A "kind" word \\ 友善', "service", ["fr-CA", "zh-TW"], ["sms", "inapp"])


def _compiled(files: dict[str, str]) -> TemplateVersion:
    source: TemplateSource = FOLDER.source("new-one", files)  # checks names and settings
    return TemplateVersion(source, LENDER, PROFILES)


@pytest.mark.parametrize("locale", ["en-US", "fr-CA", "zh-CN"])
def test_a_blank_text_compiles_on_every_channel(locale: str) -> None:
    """Also in a language without shared texts, so that the preview is there from the first letter on."""
    version = _compiled(starting_files(NewTemplate("New", "collections", [locale], list(PROFILES)), PROFILES))
    assert list(version.channels) == list(PROFILES)
    content = version.render("sms", locale, {}, "Chen Mei")
    assert content.text == "Example Bank:"
    assert "Example Bank" in version.render("email", locale, {}, "Chen Mei").html


def test_another_template_lends_its_words() -> None:
    """Those of the wanted channels and languages; of its default language, where it lacks one; nothing else of it."""
    source = FOLDER.templates["wrong-contact"]
    files = starting_files(PLAN, PROFILES, source)
    assert set(files) == {
        SETTINGS,
        "examples/zh-tw.json",
        *(f"{locale}/{part}" for locale in PLAN.locales for part in (*PROFILES["sms"].files, *PROFILES["inapp"].files)),
    }
    assert files["zh-TW/sms.liquid"] == source["zh-TW/sms.liquid"]
    assert files["fr-CA/inapp.title.liquid"] == source["en-US/inapp.title.liquid"]
    assert files["examples/zh-tw.json"] == source["examples/zh-tw.json"]


@pytest.mark.parametrize("template", list(FOLDER.templates))
def test_the_settings_are_its_own_and_its_variables_the_others(template: str) -> None:
    """Title, category, number and default language are new, whatever signs are in them; remarks and variables stay."""
    source = FOLDER.templates[template]
    old, new = tomllib.loads(source[SETTINGS]), tomllib.loads(starting_files(PLAN, PROFILES, source)[SETTINGS])
    changed = {"version": "1", "title": PLAN.title, "category": "service", "default_locale": "fr-CA"}
    assert new == {**old, **changed}
    kept = [line for line in source[SETTINGS].splitlines() if line.split(" ")[0] not in changed]
    assert starting_files(PLAN, PROFILES, source)[SETTINGS].splitlines()[len(changed) :] == kept
