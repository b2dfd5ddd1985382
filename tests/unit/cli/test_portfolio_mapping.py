"""The mapping language for portfolio files, and the mapping of the public card portfolio."""

from __future__ import annotations

import csv
import gzip
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from channels.sms import CHANNEL as SMS
from gateway.cli.portfolio import files, mapping
from gateway.cli.portfolio.mapping import MappingError, Unmappable
from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).parents[3]
CARD_MAPPING = ROOT / "ops/mappings/card-portfolio.toml"
CARD_COLUMNS = (
    "id,limit_bal,age,pay_0,pay_2,pay_3,pay_4,pay_5,pay_6,"
    "bill_amt1,bill_amt2,bill_amt3,bill_amt4,bill_amt5,bill_amt6,"
    "pay_amt1,pay_amt2,pay_amt3,pay_amt4,pay_amt5,pay_amt6,default_next_month"
)


def fields(value: Any, row: dict[str, str], **tables: Any) -> Any:
    return mapping.parse({"fields": {"x": value}, "tables": tables}).fields_of(row)["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{id}", "1234"),
        ("B-{id:06d}", "B-001234"),
        ("{bill:.2f} TWD", "500000.00 TWD"),
        ("{{{id}}}", "{1234}"),
        ("{kind:words}", "spelt out"),
        ("{rate %/year}", "12"),
        (["{id}", {"a": "{id:d}"}], ["1234", {"a": "1234"}]),
        (7, 7),
    ],
)
def test_a_placeholder_gives(text: Any, expected: Any) -> None:
    """Columns, number formats and tables, at any depth of a value; a column's name may have signs."""
    row = {"id": "1234", "bill": "5.00E+05", "kind": "short", "rate %/year": "12"}
    assert fields(text, row, words={"short": "spelt out"}) == expected


@pytest.mark.parametrize(
    ("text", "row", "detail"),
    [
        ("{id:06d}", {"id": "12.5"}, "not a whole number"),
        ("{id:.2f}", {"id": "many"}, "not a number"),
        ("{id:.2f}", {"id": "1e999999"}, "sensible size"),
        ("{id:.2f}", {"id": "NaN"}, "sensible size"),
        ("{id:words}", {"id": "many"}, "no entry"),
        ("{id}", {}, "no such column"),
    ],
)
def test_a_row_that_cannot_be_mapped_names_its_column(text: str, row: dict[str, str], detail: str) -> None:
    """The column is named, and the value is never quoted."""
    with pytest.raises(Unmappable, match=detail) as caught:
        fields(text, row, words={"one": "1"})
    assert caught.value.field == "id"
    assert "many" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "fields"),
        ({"fields": {"x": "1"}, "filter": {}}, "filter"),
        ({"fields": {"x": "{id"}}, "lone brace"),
        ({"fields": {"x": "{id:nowhere}"}}, "nowhere"),
        ({"fields": {"x": "{id.__class__:06d}{}"}}, "is not {column}"),
        ({"fields": {"x": "{id:%d}"}}, "is not"),
        ({"fields": {"x": "1"}, "where": {"a": {"above": 1}}}, "above"),
        ({"fields": {"x": "1"}, "where": {"a": {"at_least": "1"}}}, "number"),
        ({"fields": {"x": "1"}, "where": {"a": {"one_of": 1}}}, "list"),
        ({"fields": {"x": "1"}, "choose": [{"column": "y", "cases": [{"value": 1}]}]}, "every case"),
        ({"fields": {"x": "1"}, "choose": [{"cases": []}]}, "column"),
        ({"fields": {"x": "1"}, "tables": {"t": ["a"]}}, "tables.t"),
    ],
)
def test_a_wrong_mapping_is_refused_before_any_row(document: dict[str, Any], message: str) -> None:
    """A mapping's author learns what is wrong in one line."""
    with pytest.raises(MappingError, match=message):
        mapping.parse(document)


@pytest.mark.parametrize(
    ("condition", "value", "wanted"),
    [
        ({"at_least": 1}, "1", True),
        ({"at_least": 1}, "0.99", False),
        ({"at_most": 3}, "3", True),
        ({"equals": 2}, "2.0", True),
        ("card", "card", True),
        ("card", "loan", False),
        ({"one_of": ["card", "loan"]}, "loan", True),
        ({"at_least": 1, "at_most": 2}, "3", False),
    ],
)
def test_where_filters(condition: Any, value: str, wanted: bool) -> None:
    """Comparisons are of numbers where the bound is one, of texts where it is not; all of them must hold."""
    mapper = mapping.parse({"fields": {"x": "1"}, "where": {"a": condition}})
    assert mapper.wants({"a": value}) is wanted


def test_the_first_case_that_holds_is_chosen() -> None:
    """Cases are tried in order, can use columns chosen earlier, and keep a list a list."""
    mapper = mapping.parse(
        {
            "choose": [
                {"column": "late", "cases": [{"when": {"n": {"at_least": 3}}, "value": "very"}], "otherwise": "a bit"},
                {"column": "route", "cases": [{"when": {"late": "very"}, "value": ["{n}", "sms"]}]},
            ],
            "fields": {"route": "{route}", "late": "{late} late"},
        }
    )
    assert mapper.fields_of({"n": "3"}) == {"route": ["3", "sms"], "late": "very late"}
    assert mapper.columns() == {"n"}
    with pytest.raises(Unmappable, match="none of the mapping's cases"):
        mapper.fields_of({"n": "1"})


def prepare(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "ops/prepare-card-portfolio"), str(source), str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)


def card_file(folder: Path, *rows: str) -> Path:
    """A file like the public one with these rows, prepared."""
    source, output = folder / "card.csv.gz", folder / "prepared.csv.gz"
    source.write_bytes(gzip.compress("\n".join([CARD_COLUMNS, *rows, ""]).encode()))
    done = prepare(source, output)
    assert done.returncode == 0, done.stderr
    return output


def test_the_card_mapping_makes_requests(tmp_path: Path) -> None:
    """Overdue accounts become requests: stage by months, route by account, amount from the latest positive bill."""
    rest = "0,0,0,0,0,0,1"
    path = card_file(
        tmp_path,
        f"1,20000,24,2,2,-1,-1,-2,-2,3913,3102,689,0,0,0,{rest}",
        f"2,20000,24,-1,2,-1,-1,-2,-2,3913,3102,689,0,0,0,{rest}",
        f"3,5.00E+05,24,1,2,-1,-1,-2,-2,-103,0,689,0,0,0,{rest}",
        f"29999,20000,24,8,2,-1,-1,-2,-2,1.00E+05,0,0,0,0,0,{rest}",
        f"30000,20000,24,1,2,-1,-1,-2,-2,0,-5,0,0,0,0,{rest}",
    )
    found = list(files.read(path, mapping.load(CARD_MAPPING)))
    assert all(isinstance(row, files.PortfolioRow) for row in found)
    rows = [row for row in found if isinstance(row, files.PortfolioRow)]
    assert [(row.line, row.key) for row in rows] == [
        (2, "card-2005-09-1"),
        (4, "card-2005-09-3"),
        (5, "card-2005-09-29999"),
        (6, "card-2005-09-30000"),
    ]
    seen = [
        (
            row.request["case"]["stage"],
            row.request["template"],
            row.request["variables"]["amount"],
            row.request["metadata"]["amount_from"],
            [step["channel"] for step in row.request["route"]],
            row.request["borrower"]["addresses"]["sms"],
        )
        for row in rows
    ]
    assert seen == [
        ("follow_up", "overdue-follow-up", "3913.00", "bill_amt1", ["email", "inapp"], "+12015550101"),
        ("first_reminder", "overdue-first", "689.00", "bill_amt3", ["sms", "email"], "+12015550103"),
        ("final_notice", "final-notice", "100000.00", "bill_amt1", ["inapp"], seen[2][5]),
        ("first_reminder", "overdue-first", "1000.00", "stand_in", ["sms", "email"], seen[3][5]),
    ]


def test_no_two_accounts_share_a_number_that_anybody_could_have(tmp_path: Path) -> None:
    """All 30,000 accounts get numbers of their own, reserved for fiction, that the SMS channel takes."""
    source, output = tmp_path / "ids.csv", tmp_path / "prepared.csv"
    source.write_text("".join(["id\n", *(f"{number}\n" for number in range(1, 30_001))]))
    assert prepare(source, output).returncode == 0
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = [row["phone"] for row in rows]
    assert len(set(numbers)) == 30_000
    assert all(number[5:10] == "55501" for number in numbers)
    assert all(SMS.normalise(number) == number for number in numbers[::97])
    assert Counter(number[-2:] for number in numbers)["94"] == 300
    assert all(row["email"].endswith("@example.com") for row in rows)


def test_preparing_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    """The added columns depend on the id alone, and the gzip header has no time."""
    first = card_file(tmp_path, f"1,20000,24,2,{',' * 17}1")
    again = tmp_path / "again.csv.gz"
    assert prepare(tmp_path / "card.csv.gz", again).returncode == 0
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column id"),
        ("id,phone\n1,2\n", "'?phone"),
        ("id\n1\n30100\n", "line 3: id must be a whole number"),
        ("id\n-1\n", "line 2"),
        ("id,age\n1\n", "line 2"),
    ],
)
def test_a_source_that_cannot_be_prepared_leaves_no_output(tmp_path: Path, text: str, message: str) -> None:
    """One line on standard error, exit status 1, and no half-written file."""
    source, output = tmp_path / "card.csv", tmp_path / "prepared.csv"
    source.write_text(text)
    done = prepare(source, output)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert re.search(message, done.stderr)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["card.csv"]
