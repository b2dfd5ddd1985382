"""Template texts: stored byte for byte, compared, and checked against callers' requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.templates import BadTemplate, TemplateVersion
from gateway.templates.folder import check, read_template, write_template
from gateway.templates.language.variables import VariableSpec
from gateway.templates.previews.differences import difference, pieces
from gateway.templates.previews.preview import Sample, examples, preview
from gateway.templates.versions.callers import RecentCaller
from gateway.templates.versions.compatibility import broken_callers, caller_changes
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.template_services import FOLDER, LENDER, SMS, TEMPLATE

FILES = FOLDER.templates[TEMPLATE]
AMOUNT = VariableSpec("amount", "money", True, "1.00", "what is due")
NOTE = VariableSpec("note", "text", False, "x", "a note")


def _compiled(files: dict[str, str]) -> TemplateVersion:
    return TemplateVersion(FOLDER.source(TEMPLATE, files), LENDER, PROFILES)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_holds_exactly_what_was_written(tmp_path: Path) -> None:
    """Line ends, missing last newlines and characters of any script come back; what was there before goes away."""
    files = {**FILES, SMS: "one\r\ntwo 好 \u00a0", "en-US/email.txt.liquid": "", "examples/long.json": "{}\n"}
    write_template(tmp_path, TEMPLATE, FILES)
    (tmp_path / TEMPLATE / "notes.txt").write_text("not of the template")
    write_template(tmp_path, TEMPLATE, files)
    assert read_template(tmp_path / TEMPLATE) == files
    fewer = {name: text for name, text in files.items() if not name.startswith("zh-CN/")}
    write_template(tmp_path, TEMPLATE, fewer)
    assert read_template(tmp_path / TEMPLATE) == fewer
    assert (tmp_path / TEMPLATE / "notes.txt").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.liquid",
        "en-US/../../evil.liquid",
        "/etc/passwd",
        "en-US/sms.liquid/../x",
        "examples/../../x.json",
        "en-US\\sms.liquid",
        "en-US/sms.liquid\n",
        "en-US/.liquid",
        "_fragments/en-US/help.liquid",
        "",
    ],
)
def test_no_file_name_leads_elsewhere(tmp_path: Path, name: str) -> None:
    """Names become paths when a template is exported: those that no template has are refused before."""
    with pytest.raises(BadTemplate):
        write_template(tmp_path, TEMPLATE, {**FILES, name: "x"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("template", ["", "..", "a/b", "Overdue", "-x", "a" * 65, "_lint", "x.y"])
def test_no_id_leads_elsewhere(template: str) -> None:
    """So does a template's id."""
    with pytest.raises(BadTemplate):
        check(template, FILES)


# ── differences ─────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_pieces_are_both_texts(before: str, after: str) -> None:
    """What is the same with what was removed is the old text, with what was added the new one: nothing is lost."""
    found = pieces(before, after)
    assert "".join(each.text for each in found if each.kind != "added") == before
    assert "".join(each.text for each in found if each.kind != "removed") == after


def test_words_and_chinese_characters_are_compared_one_by_one() -> None:
    """A changed word is a changed word, not a changed line; a Chinese sentence has no spaces to tell its words by."""
    english = [(each.kind, each.text) for each in pieces("please pay today", "please call today")]
    assert english == [("same", "please "), ("removed", "pay"), ("added", "call"), ("same", " today")]
    chinese = [(each.kind, each.text) for each in pieces("请今天还款", "请今天联系")]
    assert chinese == [("same", "请今天"), ("removed", "还款"), ("added", "联系")]


def test_a_difference_is_said_in_words() -> None:
    """Settings, variables, parts and examples, each by the name that editors know; and what reads otherwise."""
    toml = FILES["template.toml"].replace('title = "First', 'title = "The first')
    toml = toml.replace('required = false\nexample = "https', 'required = true\nexample = "https')
    toml += '\n[variables.agent]\ntype = "text"\nrequired = false\nexample = "Lee"\ndescription = "who to ask for"\n'
    after = {
        **FILES,
        "template.toml": toml,
        "zh-TW/sms.liquid": FILES["zh-TW/sms.liquid"] + "!",
        "examples/b.json": "{}",
    }
    del after["en-GB/inapp.title.liquid"], after["en-GB/inapp.txt.liquid"]
    found = difference(FILES, after, _compiled(dict(FILES)), _compiled(after), PROFILES)
    assert found.words == (
        "the title changed from “First reminder after the due date” to “The first reminder after the due date”",
        "the variable agent (text) was added and is optional",
        "the variable pay_url is now required",
        "the in-app message in en-GB was removed",
        "the example b was added",
        "the SMS in zh-TW changed",
    )
    assert ("sms", "zh-TW") in {(each.channel, each.locale) for each in found.shown}
    assert difference(FILES, FILES, _compiled(dict(FILES)), _compiled(dict(FILES)), PROFILES).words == ()


def test_a_shared_text_that_changed_is_told() -> None:
    """A version that was frozen with an older disclosure reads otherwise than its files would today."""
    said = {name: f"{text} Ask for Lee." for name, text in FOLDER.fragments.items() if "opt-out-sms" in name}
    fragments = {**FOLDER.fragments, **said}
    today = replace(FOLDER, fragments=fragments).source(TEMPLATE, FILES)
    found = difference(FILES, FILES, _compiled(dict(FILES)), TemplateVersion(today, LENDER, PROFILES), PROFILES)
    assert found.files == ()
    assert "the SMS in en-US reads differently because a shared text changed" in found.words


# ── previews and callers ────────────────────────────────────────────────────────────────────────────────────


def test_a_preview_has_every_channel_and_says_what_is_wrong_with_a_sample() -> None:
    """One message for each channel; a wrong variable is named, and its value is not repeated."""
    version = _compiled(dict(FILES))
    shown = preview(version, Sample("en-US", examples(version)))
    assert [each.channel for each in shown] == ["email", "inapp", "sms"]
    assert all(each.content for each in shown)
    wrong = preview(version, Sample("en-US", {**examples(version), "amount": "lots of it"}))
    assert all(each.content is None for each in wrong)
    assert "amount must be a decimal amount" in wrong[0].error
    assert "lots" not in wrong[0].error


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {}, []),
        ({}, {"note": NOTE}, []),
        ({}, {"amount": AMOUNT}, ["amount (money) is now required"]),
        ({"amount": AMOUNT}, {"amount": replace(AMOUNT, required=False)}, []),
        ({"note": NOTE}, {"note": replace(NOTE, required=True)}, ["note was optional and is now required"]),
        ({"note": NOTE}, {"note": replace(NOTE, type="date")}, ["note must now be of type date, not text"]),
        ({"note": NOTE}, {}, ["note was removed: requests that send it are refused"]),
        ({"note": NOTE}, {"note": replace(NOTE, example="y")}, []),
    ],
)
def test_what_callers_would_have_to_change(
    before: dict[str, VariableSpec], after: dict[str, VariableSpec], said: list[str]
) -> None:
    """New needs, changed types and lost variables are told; what no caller notices is not."""
    assert caller_changes(before, after) == said


def test_only_callers_whose_requests_would_be_refused_are_named() -> None:
    """By what they gave lately, the busiest first, with the share of their requests, and without a value of them."""
    callers = [
        RecentCaller("key:a", "old system", 40, [{"amount": "1.00"}, {"amount": "2.00", "note": "secret"}]),
        RecentCaller("key:b", "new system", 900, [{"amount": "1.00", "note": "x"}]),
        RecentCaller("key:c", "biggest", 5000, [{}]),
    ]
    found = broken_callers(callers, {"amount": AMOUNT, "note": replace(NOTE, required=True)})
    assert [(each.name, each.requests, each.share) for each in found] == [
        ("biggest", 5000, 1.0),
        ("old system", 40, 0.5),
    ]
    assert found[1].why == ("note is missing: a note",)
    assert "secret" not in str(found)
