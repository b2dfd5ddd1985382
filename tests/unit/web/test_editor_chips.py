"""What the editor's fields can show as chips is what borrowers read; the library that shows them is the locked one."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from gateway.templates import TemplateVersion
from gateway.templates.language.version import PAGE_URL, UNSUBSCRIBE_URL, jurisdiction_of, shared_texts
from gateway.templates.previews.preview import REFERENCE
from gateway.templates.previews.samples import samples
from gateway.web import translations
from gateway.web.editor.chips import locale_chips
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.template_services import FOLDER, LENDER

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "ops" / "editor-library" / "package-lock.json"
LONGEST = 60  # characters of a value in a chip
TEXTS = translations.load(PROFILES)


@cache
def _version(name: str) -> TemplateVersion:
    return TemplateVersion(FOLDER.source(name, FOLDER.templates[name]), LENDER, PROFILES)


@pytest.mark.parametrize("name", sorted(FOLDER.templates))
def test_a_chip_shows_what_the_message_says(name: str) -> None:
    """Every format of every variable, and every shared text, in each locale: as the language writes them."""
    version = _version(name)
    for locale in version.locales:
        sample = samples(version, locale)["everything"]
        chips = locale_chips(version, locale, sample, TEXTS["en"])
        expected = {
            each.source: each.shows
            for chip in chips.variables
            for each in chip.formats
            if "plural" not in each.source and chip.name not in (PAGE_URL, UNSUBSCRIBE_URL)
        }
        assert expected.keys() >= {"borrower.name", "lender.phone", "case.reference"}
        channel = version.channels[0]
        written = version.evaluate(
            channel,
            locale,
            sample.variables,
            sample.name,
            [f"{{{{ {each} }}}}" for each in expected],
            reference=REFERENCE,
        )
        shown = [each if len(each) <= LONGEST else f"{each[: LONGEST - 1]}…" for each in written]
        assert dict(zip(expected, shown, strict=True)) == expected

        country = jurisdiction_of(locale.partition("-")[2])
        by_jurisdiction = shared_texts(version.source.fragments, locale)
        sources = by_jurisdiction.get(country, by_jurisdiction[""])
        plain = [
            each for each in chips.shared if not any(tag in sources[each.name] for tag in ("_url %", "page_url", "<"))
        ]
        assert {"help", "help-short", "sign-sms", "already-paid"} <= {each.name for each in plain}
        said = version.evaluate(
            channel,
            locale,
            sample.variables,
            sample.name,
            [sources[each.name] for each in plain],
            country,
            REFERENCE,
        )
        assert [" ".join(each.split()) for each in said] == [each.says for each in plain]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_shipped_variable_has_a_name_for_writers(language: str) -> None:
    """No name of a program is read by a writer, as "pay_url" would be; an optional one has its place in a sentence."""
    texts = TEXTS[language]
    for version in map(_version, FOLDER.templates):
        chips = locale_chips(version, "en-US", samples(version, "en-US")["everything"], texts)
        for each in chips.variables:
            key = each.name.replace(".", "_")
            assert f"called_{key}" in texts.texts, each.name
            assert not each.optional or f"given_{key}" in texts.texts, each.name


def test_the_library_of_the_fields_is_the_locked_one() -> None:
    """Its first line names each package of the lock file with its version; all of them have their hash there."""
    first = (ROOT / "gateway" / "web" / "assets" / "codemirror.min.js").read_text("utf-8").partition("\n")[0]
    packages = json.loads(LIBRARY.read_text("utf-8"))["packages"]
    locked = {path: each for path, each in packages.items() if path}
    assert all(each["integrity"].startswith("sha512-") and "resolved" not in each for each in locked.values())
    for path, each in locked.items():
        if not each.get("optional"):
            assert f"{path.removeprefix('node_modules/')} {each['version']}" in first
