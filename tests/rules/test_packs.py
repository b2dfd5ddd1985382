"""Which packs hold for whom and when, and what their readers are told of them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli import app
from gateway.core.facts import Facts
from gateway.core.reasons import HoldKind
from gateway.policy import PackError, Packs, decide, inspect, load_packs
from tests.support.rules.policy_cases import NEW_YORK, TAIPEI, at, contact, notification

SHIPPED = Path(__file__).parents[2] / "templates" / "policies"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped packs, to be changed."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "policies"))


def _next(folder: Path, name: str, effective_from: str, **changes: str) -> Path:
    """A further version of a pack, with some of its text replaced."""
    text = (folder / f"{name}.yaml").read_text("utf-8")
    text = text.replace("2026.11.24-draft", "next").replace(
        "effective_from: 2026-01-01", f"effective_from: {effective_from}"
    )
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    made = folder / f"{name}_next.yaml"
    made.write_text(text, "utf-8")
    return made


def _names(packs: Packs, jurisdiction: str, now: datetime = datetime(2026, 11, 24, tzinfo=UTC)) -> list[str]:
    return [name for name, _, _ in packs.in_force(jurisdiction, now).packs]


def test_a_jurisdiction_has_its_own_pack_or_its_countrys_or_the_strictest() -> None:
    """A region without a pack has its country's; a country without one has the default."""
    packs = load_packs(SHIPPED)
    assert _names(packs, "tw") == ["default", "tw"]
    assert _names(packs, "gb") == ["default", "uk_conc"]
    assert _names(packs, "us-ny") == ["default", "us_regf"]
    assert _names(packs, "US-MA") == ["default", "us_regf", "us_ma"]
    assert _names(packs, "fr") == ["default"]


def test_an_overlay_tightens_and_never_loosens() -> None:
    """In Florida it is too late at 20:30, elsewhere in the country not; what the base denies stays denied."""
    packs = load_packs(SHIPPED)
    late, early = at("2026-11-24 20:30", NEW_YORK), at("2026-11-24 07:30", NEW_YORK)

    def said(jurisdiction: str, now: datetime) -> str:
        return decide(notification(jurisdiction, NEW_YORK), "sms", Facts(), packs, now, text="STOP").kind

    assert (said("us", late), said("us-fl", late)) == ("send", "defer")
    assert (said("us", early), said("us-fl", early)) == ("defer", "defer")


def test_a_state_counts_by_case_what_the_country_counts_by_borrower() -> None:
    """Two texts about one debt within seven days are what Massachusetts allows; the overlay is named in the verdict."""
    now = at("2026-11-24 12:00", NEW_YORK)
    contacts = tuple(contact(now - timedelta(days=days)) for days in (2, 4))
    verdict = decide(
        notification("us-ma", NEW_YORK), "sms", Facts(contacts=contacts), load_packs(SHIPPED), now, text="STOP"
    )
    assert verdict.kind == "defer"
    assert "us_ma" in {rule.pack for rule in verdict.rules if rule.verdict == "defer"}


def test_a_request_deferred_across_a_change_is_decided_by_the_pack_in_force_then(folder: Path) -> None:
    """The evening before, 07:59 is the next morning's wait; from the new pack's first instant its hours hold."""
    _next(folder, "tw", "2026-11-25", **{'courtesy: {value: "08:00-21:00"': 'courtesy: {value: "10:00-21:00"'})
    packs = load_packs(folder)
    made = notification("tw", TAIPEI)
    evening, morning = at("2026-11-24 21:30", TAIPEI), at("2026-11-25 08:30", TAIPEI)  # the 25th begins at 08:00 there
    before = decide(made, "sms", Facts(), packs, evening)
    assert before.until == at("2026-11-25 08:00", TAIPEI)
    assert [version for name, version, _ in before.packs if name == "tw"] == ["2026.11.24-draft"]
    after = decide(made, "sms", Facts(), packs, morning)
    assert (after.kind, after.until) == ("defer", at("2026-11-25 10:00", TAIPEI))
    assert [version for name, version, _ in after.packs if name == "tw"] == ["next"]
    assert decide(made, "sms", Facts(), packs, at("2026-11-25 07:59:59.999999", TAIPEI)).packs == before.packs


def test_before_its_first_version_the_strictest_pack_holds_all_the_same() -> None:
    """An instant before every date is decided, strictly; it is no error."""
    assert _names(load_packs(SHIPPED), "tw", datetime(2020, 1, 1, tzinfo=UTC)) == ["default"]


def test_packs_given_by_name_replace_those_of_the_jurisdiction() -> None:
    """A dry decision may ask what another country's packs would say; what is universal stays."""
    packs = load_packs(SHIPPED)
    night = at("2026-11-24 05:00", TAIPEI)
    verdict = decide(notification("tw", TAIPEI), "sms", Facts(), packs, night, pack_names=("in_rbi", "us_ma"))
    assert [name for name, _, _ in verdict.packs] == ["default", "in_rbi", "us_ma"]
    closed = decide(notification("tw", TAIPEI), "sms", Facts(case_closed=True), packs, night, pack_names=("in_rbi",))
    assert closed.reason == "case_closed"
    with pytest.raises(PackError, match="atlantis"):
        packs.in_force("tw", night, ("atlantis",))


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("tw", 'value: "08:00-21:00"', 'value: "8-21"', "/rules/windows/courtesy/value"),
        ("tw", "tz: Asia/Taipei", "tz: Asia/Tapei", "Asia/Tapei is not an IANA time zone"),
        ("tw", ', source: "one legal zone"', "", "'source' is a required property"),
        ("tw", 'to be reviewed by counsel"\njurisdictions', 'final"\njurisdictions', "/status"),
        ("uk_conc", 'jurisdictions: ["uk", "gb"]', 'jurisdictions: ["uk", "tw"]', "make one an overlay"),
        ("us_ma", "overlay: true", "overlay: false", "required property"),
        ("tw", 'value: "08:00-21:00"', 'value: "08:00-29:00"', "/rules/windows/courtesy/value"),
        ("tw", "tz: Asia/Taipei, ", "", "'tz' is a required property"),
        ("uk_conc", "[ENG, SCT, NIR]", "[ENG, SCOTLAND]", "/rules/holidays/subdivisions/1: GB has no SCOTLAND"),
        ("uk_conc", "country: GB", "country: XX", "/rules/holidays/country: no public holidays are known of XX"),
        ("default", "    cease: ", "    ceased: ", "'ceased' is not one of"),
        ("tw", "period_kind: calendar_day", "period_kind: month", "is not one of"),
        ("tw", "period: 7,", "period: 8785,", "8785 is greater than the maximum of 8784"),  # hours of a leap year
    ],
)
def test_a_wrong_pack_is_refused_with_its_place(folder: Path, name: str, old: str, new: str, told: str) -> None:
    """A pack that can't be understood stops the start, and lint names file, place and remedy."""
    path = folder / f"{name}.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(PackError, match=told):
        load_packs(folder)
    (error,) = [each for each in inspect.lint(folder) if each.level == "error"]
    assert told in error.message


def test_a_pack_may_have_every_kind_of_hold_and_no_other(folder: Path) -> None:
    """All of them are read; one that nobody knows is refused by its name."""
    path = folder / "default.yaml"
    pack = yaml.safe_load(path.read_bytes())
    held = {"value": "defer", "mark": {"authority": "our_choice", "seen": "not_applicable", "source": "a test"}}
    pack["universal"]["holds"] = dict.fromkeys((str(kind) for kind in HoldKind), held)
    path.write_text(yaml.safe_dump(pack), "utf-8")
    load_packs(folder)
    pack["universal"]["holds"]["on_holiday"] = held
    path.write_text(yaml.safe_dump(pack), "utf-8")
    with pytest.raises(PackError, match="on_holiday"):
        load_packs(folder)


def test_the_printed_schema_takes_every_shipped_pack() -> None:
    """An editor that checks YAML by it finds nothing in what the gateway itself takes."""
    printed = json.loads(CliRunner().invoke(app, ["policy", "schema"]).stdout)
    for path in SHIPPED.glob("*.yaml"):
        pack = json.loads(json.dumps(yaml.safe_load(path.read_bytes()), default=str))
        jsonschema.Draft202012Validator(printed).validate(pack)


def test_two_versions_from_one_date_are_refused(folder: Path) -> None:
    """Which of them holds would depend on their file names."""
    _next(folder, "tw", "2026-01-01")
    with pytest.raises(PackError, match="same date"):
        load_packs(folder)


def test_shipped_packs_have_no_errors_and_say_what_nobody_has_verified() -> None:
    """Every recalled figure is a warning; every pack calls itself a draft for counsel, and marks every figure."""
    found = inspect.lint(SHIPPED)
    assert {each.level for each in found} == {"warning"}
    assert any("940 CMR 7.04" in each.message for each in found)
    for path in SHIPPED.glob("*.yaml"):
        assert path.read_text("utf-8").startswith("# DRAFT. To be reviewed by counsel")
        assert all(each.source and each.authority for each in inspect.figures(path))


def test_a_difference_names_the_figure_and_not_its_position(folder: Path) -> None:
    """A changed cap is one line, also when another was put in before it."""
    changed = _next(
        folder,
        "us_regf",
        "2027-01-01",
        **{"{scope: borrower, channel: email, value: 3": "{scope: borrower, channel: email, value: 2"},
    )
    found = inspect.difference(folder / "us_regf.yaml", changed)
    assert ("rules/caps/borrower email consecutive_days 7/value", "3", "2") in found
    assert {place for place, _, _ in found} == {
        "version",
        "effective_from",
        "rules/caps/borrower email consecutive_days 7/value",
    }


def test_at_night_a_holiday_is_not_the_reason() -> None:
    """Where the usual hours are closed as well, the verdict says so."""
    christmas = notification("uk", "Europe/London")
    packs = load_packs(SHIPPED)
    night = decide(christmas, "sms", Facts(), packs, at("2026-12-25 03:00", "Europe/London"))
    evening = decide(christmas, "sms", Facts(), packs, at("2026-12-25 18:00", "Europe/London"))
    assert (night.reason, evening.reason) == ("outside_window", "holiday")
    assert night.until == at("2026-12-25 10:05", "Europe/London")
