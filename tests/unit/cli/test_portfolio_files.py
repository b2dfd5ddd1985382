"""Portfolio files: line numbers, errors with the field's name, and stable idempotency keys."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import console
from gateway.cli.portfolio import files, mapping
from gateway.cli.portfolio.files import PortfolioError, PortfolioRow, RowError, nested, row_key
from gateway.cli.portfolio.mapping import Unmappable
from gateway.cli.runner import fail
from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).parents[3]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["p.jsonl", "p.ndjson", "p.JSONL.gz"])
def test_lines_of_json(tmp_path: Path, name: str) -> None:
    """Every line is a request or an error in its place; empty lines count as lines only."""
    path = written(
        tmp_path,
        name,
        '\ufeff{"template": "a", "idempotency_key": "k1"}\n'
        "\n"
        '{"template": \n'
        '["no", "object"]\n'
        '{"template": NaN}\n'
        '{"idempotency_key": 7}\n'
        '{"template": "b"}',
    )
    found = list(files.read(path))
    assert found == [
        PortfolioRow(1, "k1", {"template": "a"}),
        RowError(3, "", "is not JSON: Expecting value at column 13"),
        RowError(4, "", "is not a JSON object"),
        RowError(5, "", "is not JSON: a number or nesting that no request has"),
        RowError(6, "idempotency_key", "is not a text"),
        PortfolioRow(7, row_key({"template": "b"}), {"template": "b"}),
    ]
    assert files.count(path) == len(found)


def test_deep_nesting_is_an_error_of_its_line(tmp_path: Path) -> None:
    """A line made to exhaust the parser does not end the run."""
    path = written(tmp_path, "p.jsonl", "[" * 200_000 + "\n" + '{"a": 1}\n')
    first, second = files.read(path)
    assert isinstance(first, RowError)
    assert isinstance(second, PortfolioRow)


def test_csv_columns_are_dotted_paths(tmp_path: Path) -> None:
    """Empty cells are left out, numbers in a path make lists, and a quoted line break moves the line numbers."""
    path = written(
        tmp_path,
        "p.csv",
        "borrower.id,borrower.name,route.0.channel,route.0.wait,route.1.channel,idempotency_key\n"
        'B-1,"two\nlines",sms,PT30M,email,k1\n'
        "\n"
        "B-2,,,,inapp,\n"
        "B-3,short\n",
    )
    found = list(files.read(path))
    assert found[0] == PortfolioRow(
        2,
        "k1",
        {
            "borrower": {"id": "B-1", "name": "two\nlines"},
            "route": [{"channel": "sms", "wait": "PT30M"}, {"channel": "email"}],
        },
    )
    second = found[1]
    assert isinstance(second, PortfolioRow)
    assert (second.line, second.request) == (5, {"borrower": {"id": "B-2"}, "route": [{"channel": "inapp"}]})
    assert found[2] == RowError(6, "", "has 2 cells; the header has 6")
    assert files.count(path) == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.xlsx", "", "must end in"),
        ("p.csv", "", "no header"),
        ("p.csv", "a,b\n1,2\n", "borrower.id"),
        ("p.csv", "borrower.id,x,x\n1,2,3\n", "twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    """What is wrong with the file as a whole is said before anything is sent."""
    with pytest.raises(PortfolioError, match=message) as caught:
        list(files.read(written(tmp_path, name, text)))
    assert "\n" not in str(caught.value)


def test_a_number_without_end_is_no_index() -> None:
    """A column's path may have digits in any number: those that no list has are a name, and no traceback."""
    assert nested({"a.1": "x", "a.0": "y"}) == {"a": ["y", "x"]}
    for name in ("9" * 5000, "²", "٣"):
        assert nested({f"a.{name}": "x"}) == {"a": {name: "x"}}


def test_a_wrong_row_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A partner's file may name a field by control characters: they are written out. Brackets are no markup."""
    console.bad_row(RowError(3, "case.\x1b]0;mine\x07[bold]", "is no field\u202e"))
    assert capsys.readouterr().err == "line 3: case.\\x1b]0;mine\\x07[bold]: is no field\\u202e\n"
    with pytest.raises(typer.Exit):
        fail("the column '\x1b[31mx' is there twice")
    assert capsys.readouterr().err == "gateway: the column '\\x1b[31mx' is there twice\n"


def test_damaged_files_are_told(tmp_path: Path) -> None:
    """Missing, wrongly named, truncated, not UTF-8, and a mapping without its column."""
    whole = written(tmp_path, "p.jsonl.gz", '{"template": "a"}\n' * 5000)
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[:-20])
    plain = tmp_path / "plain.csv.gz"
    plain.write_text("borrower.id\n1\n")
    latin = tmp_path / "latin.csv"
    latin.write_bytes("borrower.id,borrower.name\n1,José\n".encode("latin-1"))
    mapper = mapping.parse({"fields": {"borrower.id": "{account}"}})
    csv = written(tmp_path, "p.csv", "borrower.id\n1\n")
    for path, given_mapper, message in [
        (tmp_path / "absent.csv", None, "No such file"),
        (cut, None, "cannot be read to its end"),
        (plain, None, "is not gzip"),
        (latin, None, "is not UTF-8"),
        (csv, mapper, "needs the column 'account'"),
        (whole, mapper, "a mapping is for CSV"),
    ]:
        with pytest.raises(PortfolioError, match=message):
            list(files.read(path, given_mapper))


def test_a_mapped_row_that_does_not_fit_names_its_column(tmp_path: Path) -> None:
    """The filter and the fields both report line and column, and the other rows go on."""
    mapper = mapping.parse({"where": {"late": {"at_least": 1}}, "fields": {"borrower.id": "B-{account:03d}"}})
    path = written(tmp_path, "p.csv", "account,late\n1,1\n2,soon\nx,1\n4,0\n5,2\n")
    found = list(files.read(path, mapper))
    assert found[1:3] == [RowError(3, "late", "is not a number"), RowError(4, "account", "is not a number")]
    assert [row.line for row in found] == [2, 3, 4, 6]
    assert files.count(path, mapper) == 4


@pytest.mark.parametrize("columns", [{"a": "1", "a.b": "2"}, {"a.b": "1", "a": "2"}])
def test_columns_that_contradict_each_other(columns: dict[str, str]) -> None:
    """A value can't be a text and an object at once."""
    with pytest.raises(Unmappable):
        nested(columns)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=6), st.randoms(use_true_random=False))
def test_the_key_of_a_row_does_not_depend_on_the_order_of_its_fields(request: dict[str, str], random: object) -> None:
    """The same row has the same key in any file, and another row has another."""
    names = list(request)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert row_key({name: request[name] for name in names}) == row_key(request)
    assert row_key({**request, "another field": "1"}) != row_key(request)


def test_the_shipped_portfolio_is_what_its_program_writes() -> None:
    """ops/demo-portfolio.csv is not edited by hand."""
    program = ROOT / "ops/make-demo-portfolio"
    made = subprocess.run([sys.executable, str(program)], capture_output=True, check=True, timeout=LIMIT_SECONDS)
    assert made.stdout == (ROOT / "ops/demo-portfolio.csv").read_bytes()


def test_the_shipped_portfolio_has_three_jurisdictions_and_addresses_for_fiction_only() -> None:
    """Nobody can be reached by the demo's file, and its rows all parse."""
    rows = [row.request for row in files.read(ROOT / "ops/demo-portfolio.csv") if isinstance(row, PortfolioRow)]
    assert len(rows) == 326
    assert {row["borrower"]["jurisdiction"] for row in rows} == {"tw", "uk", "in"}
    numbers = {row["borrower"]["addresses"][each] for row in rows for each in ("sms", "whatsapp")
               if each in row["borrower"]["addresses"]}  # fmt: skip
    # Ofcom's numbers for drama, and NANPA's 555-0100 to 555-0199 of any area.
    fictional = re.compile(r"\+447700900\d{3}|\+1\d{3}55501\d\d|\+442079460123")
    assert all(fictional.fullmatch(each) for each in numbers)
    assert all("example.com" in json.dumps(row["borrower"]["addresses"]) for row in rows)
