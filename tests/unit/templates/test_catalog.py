"""The template catalog: built-in templates render, invalid ones are refused with position, hostile ones end in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from gateway.core.errors import RenderFailed, UnknownTemplate
from gateway.templates import BadTemplate, Catalog, Lender, TemplateProblem, TemplateSource, TemplateVersion
from gateway.templates.folder import Folder
from gateway.templates.versions.published_store import Key, PublishedVersions, VersionSource
from tests.support.providers.channel_profiles import PROFILES
from tests.support.storage.ledgers import NOW

TEMPLATES = Path(__file__).parents[3] / "templates"
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
VARIABLES = {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"}


@cache
def _catalog() -> Catalog:
    return Catalog.load(TEMPLATES, lender=LENDER, profiles=PROFILES)


def made(sms: str, variables: str = "name") -> TemplateVersion:
    specs = {name: {"type": "text", "example": "x", "description": "x"} for name in variables.split()}
    settings = {
        "version": "1",
        "title": "t",
        "description": "d",
        "category": "service",
        "default_locale": "en-US",
        "variables": specs,
    }
    return TemplateVersion(TemplateSource("t", settings, {"en-US/sms.liquid": sms}, {}), LENDER, PROFILES)


def test_amount_and_date_follow_the_locale() -> None:
    """Money and dates look as they do where the borrower lives, and SMS has no dear spaces."""
    template = _catalog().resolve("", "overdue-first", None, NOW)
    assert "NT$3,913.00 was due on Nov 1, 2026" in template.render("sms", "en-US", VARIABLES, "A").text
    assert "2026年11月1日" in template.render("sms", "zh-TW", VARIABLES, "A").text


@pytest.mark.parametrize(
    ("wanted", "used"),
    [("zh-TW", "zh-TW"), ("zh-HK", "zh-TW"), ("zh-SG", "zh-CN"), ("en-AU", "en-GB"), ("fr-FR", "en-US")],
)
def test_locale_falls_back_to_its_language_then_to_the_default(wanted: str, used: str) -> None:
    """A locale without a text of its own gets its language's, or the template's default."""
    assert _catalog().resolve("", "overdue-first", None, NOW).locale_for(wanted, "sms") == used


def test_html_escapes_what_a_variable_brings() -> None:
    """A name with markup stays a name."""
    html = (
        _catalog()
        .resolve("", "overdue-first", None, NOW)
        .render("email", "en-US", VARIABLES, "<script>x</script>")
        .html
    )
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_name_can_not_add_a_header() -> None:
    """The subject is one line, whatever a variable contains."""
    settings = {**dict(_catalog().resolve("", "overdue-first", None, NOW).source.settings), "variables": {}}
    parts = {
        "en-US/email.subject.liquid": "Hi {{ borrower.name }}",
        "en-US/email.txt.liquid": "x",
        "en-US/email.mjml.liquid": "<mjml></mjml>",
    }
    content = TemplateVersion(TemplateSource("t", settings, parts, {}), LENDER, PROFILES).render(
        "email", "en-US", {}, "A\r\nBcc: b@c"
    )
    assert content.subject == "Hi A Bcc: b@c"


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({}, "/variables/name"),
        ({"name": 5}, "/variables/name"),
        ({"name": "a\x00b"}, "/variables/name"),
        ({"name": "x" * 501}, "/variables/name"),
        ({"name": "x", "other/one": 1}, "/variables/other~1one"),
    ],
)
def test_wrong_variables_are_named(given: dict[str, object], pointer: str) -> None:
    """A missing, mistyped, overlong or unknown variable is named by its pointer."""
    assert [each.pointer for each in made("{{ name }}").check(given)] == [pointer]


@pytest.mark.parametrize("value", ["1e9", "NaN", "Infinity", "12,50", "", "1" * 30, 12.5])
def test_an_amount_is_a_plain_decimal(value: object) -> None:
    """Amounts are decimal strings; anything that could mean something else is refused."""
    template = _catalog().resolve("", "overdue-first", None, NOW)
    assert [each.pointer for each in template.check({**VARIABLES, "amount": value})] == ["/variables/amount"]


def test_an_error_never_shows_a_value() -> None:
    """What a template complains about is its text, not the borrower's data."""
    with pytest.raises(RenderFailed) as caught:
        made("\n {{ name | default: 'x' | money: 'TWD' }}").render(
            "sms", "en-US", {"name": "secret-value"}, "secret-name"
        )
    assert "t/en-US/sms.liquid:2:" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_syntax_error_names_file_and_line() -> None:
    """An editor learns where the mistake is."""
    with pytest.raises(BadTemplate, match=r"t/en-US/sms\.liquid"):
        made("ok\n{% if name %}")


def test_a_version_is_its_text() -> None:
    """Another text is another version, and a dumped version comes back as it was."""
    [one, two] = [made("a"), made("b")]
    assert one.version != two.version
    assert TemplateSource.parse(one.source.dump()).version == one.version
    with pytest.raises(UnknownTemplate):
        _catalog().resolve("", "overdue-first", "1-00000000", NOW)


def _ledger_with(source: TemplateSource) -> PublishedVersions:
    """A ledger that knows one version, without a database."""

    class OneVersion(PublishedVersions):
        def __init__(self) -> None:
            """Nothing to open."""

        async def fetch(self, keys: Sequence[Key]) -> list[VersionSource]:
            return [VersionSource("", "t", source.version, source.dump())]

    return OneVersion()


async def test_an_older_version_is_fetched_and_rendered() -> None:
    """A request pinned to a version that is not in the files any more is rendered with it."""
    old = made("old words for {{ name }}")

    catalog = Catalog(Folder.read(TEMPLATES).sources(), LENDER, PROFILES, _ledger_with(old.source))
    await catalog.ensure([("acme", "t", old.version)])
    found = catalog.resolve("acme", "t", old.version, NOW)
    assert found.render("sms", "en-US", {"name": "you"}, "A").text == "old words for you"


async def test_what_was_written_in_an_older_form_goes_out_as_far_as_it_can() -> None:
    """A request pinned to a version from before a change of the language keeps its SMS; its e-mail is refused."""
    new = made("words for {{ name }}").source
    older = {"en-US/email.subject.liquid": "s", "en-US/email.txt.liquid": "t", "en-US/email.html.liquid": "<p>h</p>"}
    source = TemplateSource("t", new.settings, {**new.parts, **older}, {})
    with pytest.raises(BadTemplate, match="is not a template file"):
        TemplateVersion(source, LENDER, PROFILES)

    catalog = Catalog(Folder.read(TEMPLATES).sources(), LENDER, PROFILES, _ledger_with(source))
    await catalog.ensure([("acme", "t", source.version)])
    found = catalog.resolve("acme", "t", source.version, NOW)
    assert found.render("sms", "en-US", {"name": "you"}, "A").text == "words for you"
    with pytest.raises(RenderFailed, match="has no text for email"):
        found.render("email", "en-US", {"name": "you"}, "A")


def test_a_draft_says_everything_at_once_and_shows_the_rest() -> None:
    """Of a draft with mistakes in two parts both are told with their places, and the channel without any is shown."""
    source = Folder.read(TEMPLATES).sources()["overdue-first"]
    broken = {"en-US/email.subject.liquid": "{{ nope }}", "en-US/inapp.txt.liquid": "x\n {{ amount | nope }}"}
    problems: list[TemplateProblem] = []
    version = TemplateVersion(replace(source, parts={**source.parts, **broken}), LENDER, PROFILES, problems)
    places = {(each.where, each.line, each.column) for each in problems}
    assert places == {
        ("overdue-first/en-US/email.subject.liquid", 1, 4),
        ("overdue-first/en-US/inapp.txt.liquid", 2, 14),
    }
    assert version.render("sms", "en-US", VARIABLES, "A").text
    assert not version.parts("en-US", "email")
    assert version.parts("en-GB", "email")


def test_a_toml_error_is_a_bad_template(tmp_path: Path) -> None:
    """A template whose settings don't fit the schema is refused with the field."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "template.toml").write_text('version = "one"')
    (tmp_path / "schema.json").write_text((TEMPLATES / "schema.json").read_text("utf-8"))
    with pytest.raises(BadTemplate, match=r"x/template\.toml"):
        Folder.read(tmp_path).sources()


@pytest.mark.parametrize("settings", ["a" + ".a" * 40_000 + "=1", "a=" + "{a=" * 5_000, "a=" + "9" * 5_000])
def test_settings_that_no_parser_takes_are_a_bad_template(settings: str) -> None:
    """A key of 40,000 parts took a minute; nested tables and endless numbers ended with another error."""
    with pytest.raises(BadTemplate, match=r"t/template\.toml"):
        Folder.read(TEMPLATES).source("t", {"template.toml": settings})
