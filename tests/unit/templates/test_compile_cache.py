"""Compilation at the first use, its cache limit, and validation at the start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.app.storage import open_ledger
from gateway.app.templates import LoadedTemplates, load_templates
from gateway.core.errors import RenderFailed
from gateway.templates import Catalog, Lender, TemplateVersion
from gateway.templates.folder import Folder
from gateway.templates.language import version
from gateway.templates.language.language import CompiledPart, PartScope, compile_part
from gateway.templates.validation_cache import ValidationCache
from tests.support.providers.channel_profiles import PROFILES
from tests.support.storage.ledgers import NOW

TEMPLATES = Path(__file__).parents[3] / "templates"
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
GIVEN = {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that are compiled from now on."""
    found: list[str] = []
    compile_part: Callable[..., Any] = getattr(version, "compile_part")  # noqa: B009 – imported there

    def noted(text: str, where: str, *rest: Any, **options: Any) -> Any:
        found.append(where)
        return compile_part(text, where, *rest, **options)

    monkeypatch.setattr(version, "compile_part", noted)
    return found


@pytest.fixture
def reminder() -> TemplateVersion:
    catalog = Catalog.load(TEMPLATES, lender=LENDER, profiles=PROFILES)
    found = catalog.resolve("", "overdue-first", None, NOW)
    assert isinstance(found, TemplateVersion)
    return found


def _sms(reminder: TemplateVersion, locale: str, jurisdiction: str = "") -> str:
    return reminder.render("sms", locale, GIVEN, "A", jurisdiction).text


def test_a_text_is_compiled_once_at_its_first_use(reminder: TemplateVersion, compiled: list[str]) -> None:
    """Not at the start, not twice, and nothing beside it; an unknown jurisdiction is no text of its own."""
    texts = {_sms(reminder, "en-US", place) for place in ("fr", "fr", "de")}
    assert compiled == ["overdue-first/en-US/sms.liquid"]
    assert len(texts) == 1
    reminder.render("email", "zh-TW", GIVEN, "A")
    files = [f"email.{part}.liquid" for part in ("subject", "preview", "md", "md")]  # the last makes both texts
    assert [each.rpartition("/")[2] for each in compiled[1:]] == files


def test_the_oldest_make_room(reminder: TemplateVersion, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only two are kept, the third makes the first be compiled again at its next use, to the same text."""
    monkeypatch.setattr(version, "_recent", version._Recent(2))
    first = [_sms(reminder, locale) for locale in ("en-US", "en-GB", "zh-TW")]
    again = [_sms(reminder, locale) for locale in ("zh-TW", "en-GB", "en-US")]
    assert again == list(reversed(first))
    assert [each.split("/")[1] for each in compiled] == ["en-US", "en-GB", "zh-TW", "en-US"]


def test_threads_that_use_a_text_first_get_the_same(reminder: TemplateVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renders run in threads: whoever comes first, and whatever is dropped meanwhile, each gets its text."""
    monkeypatch.setattr(version, "_recent", version._Recent(1))
    locales = [locale for _ in range(20) for locale in reminder.locales]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda locale: (locale, _sms(reminder, locale)), locales))
    assert set(found) == {(locale, _sms(reminder, locale)) for locale in reminder.locales}
    assert len(set(found)) == len(reminder.locales)


def test_what_goes_wrong_in_a_mail_has_its_place() -> None:
    """A mail is laid out before it is compiled; a render that fails still names the place in the source."""
    column = "<mj-text>Hello</mj-text>\n<mj-text>{{ amount | money: currency }}</mj-text>"
    mail = f"<mjml><mj-body><mj-section><mj-column>{column}</mj-column></mj-section></mj-body></mjml>"
    scope = PartScope("en-US", {"amount": "money", "currency": "currency"}, {}, {})
    made = compile_part(mail, "t/en-US/x", scope, is_mail=True)
    assert isinstance(made, CompiledPart)
    for _ in range(2):
        with pytest.raises(RenderFailed, match=r"t/en-US/x:2:10: money wants an amount"):
            made.render({"amount": None, "currency": "USD", "locale": "en-US"})


async def _start(folder: Path, data: Path, lender: str = "Example Bank") -> LoadedTemplates:
    async with open_ledger(Settings(data_dir=data, templates_dir=folder, lender_name=lender)) as ledger:
        return await load_templates(ledger, PROFILES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Templates that ship: one, with what templates share."""
    shutil.copytree(TEMPLATES, tmp_path / "templates", ignore=lambda _, names: _OTHERS & set(names))
    return tmp_path / "templates"


_OTHERS = {each.parent.name for each in TEMPLATES.glob("*/template.toml")} - {"overdue-first"}
_BROKEN = {
    "language": ("en-GB/sms.liquid", "{{ nope }}", r"en-GB/sms\.liquid:1:4: unknown variable 'nope'"),
    "lint": (
        "zh-TW/inapp.title.liquid",
        "{{ amount | money: currency }}",
        r"templates: 1 errors .*can be read by",
    ),
    "mail": (
        "en-US/email.md.liquid",
        "Hello\n\n<mj-nope/>",
        r"email\.md\.liquid:3:1: HTML is not read here",
    ),
}


@pytest.mark.parametrize(("name", "text", "says"), _BROKEN.values(), ids=_BROKEN)
async def test_a_broken_template_is_refused_at_the_start(
    folder: Path, tmp_path: Path, name: str, text: str, says: str
) -> None:
    """Whatever is wrong with a text that ships stops the start, and not the first message that would use it."""
    assert [each.id for each in (await _start(folder, tmp_path)).catalog.live()] == ["overdue-first"]
    (folder / "overdue-first" / name).write_text(text, "utf-8")
    with pytest.raises(CannotStart, match=says):
        await _start(folder, tmp_path)


@pytest.mark.parametrize("change", ["text", "word", "lender"])
async def test_what_was_found_good_is_checked_again_when_something_changes(
    folder: Path, tmp_path: Path, compiled: list[str], change: str
) -> None:
    """The second start compiles nothing, and renders what the first did; a change of anything has it look again."""
    first = (await _start(folder, tmp_path)).catalog.live()[0]
    words = _sms(first, "en-US")
    compiled.clear()
    again = (await _start(folder, tmp_path)).catalog.live()[0]
    assert compiled == []
    assert (again.version, again.channels, _sms(again, "en-US")) == (first.version, first.channels, words)
    compiled.clear()
    lender = "Another Bank" if change == "lender" else "Example Bank"
    if change == "text":
        (folder / "overdue-first" / "en-GB" / "inapp.txt.liquid").write_text("Other words.\n", "utf-8")
    elif change == "word":
        with (folder / "_lint" / "en.toml").open("a", encoding="utf-8") as file:
            file.write("# a remark\n")
    await _start(folder, tmp_path, lender)
    assert compiled


def test_processes_of_one_program_agree_on_what_was_found_good() -> None:
    """A start relies on what another process found: nothing that differs between two of them is in the mark."""
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # from which the order of sets comes
    program = f"import {__name__} as here; print(here.mark_of_the_reminder())"
    found = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert found.strip() == mark_of_the_reminder()


def mark_of_the_reminder() -> str:
    """The mark of a template that ships, as this process computes it."""
    cache = ValidationCache(LENDER, TEMPLATES / "_lint", PROFILES)
    return cache.mark(Folder.read(TEMPLATES).sources()["overdue-first"])


async def test_a_word_that_is_listed_later_stops_what_was_good(folder: Path, tmp_path: Path) -> None:
    """A verdict holds for the word lists under which it was found."""
    await _start(folder, tmp_path)
    words = folder / "_lint" / "en.toml"
    entry = (
        '[[words]]\nkind = "new"\nlevel = "error"\nmatch = ["was due"]\nwhy = "it is new"\ninstead = "Leave it out."\n'
    )
    words.write_text(words.read_text("utf-8") + entry, "utf-8")
    with pytest.raises(CannotStart, match="it is new"):
        await _start(folder, tmp_path)
