"""TOML from outside: read as Python's parser reads it, and refused at once where that would take minutes."""

from __future__ import annotations

import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.bounded.toml import read_toml

_WORD = st.text("ab.=\"'[]{},# \\\n", max_size=40)


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 49_000 + "=1",
        "[a" + ".b" * 49_000 + "]\n",
        "x = {y" + " . y" * 20_000 + " = 1}",
        '"="' + '."="' * 20_000 + "=1",
        "'a'" + ".'#'" * 20_000 + "=1",
        "a = " + "[" * 5_000 + "]" * 5_000,
        "a = " + "{a = " * 5_000,
        "a = " + "9" * 5_000,
        '"' + '\\"' * 50_000,
        '"""' + '\\"' * 50_000,
        "'''" + "''x" * 30_000,
    ],
    ids=["key", "table", "inline", "quoted", "literal", "arrays", "tables", "digits", "open", "open lines", "literals"],
)
def test_hostile_toml_is_refused_at_once(text: str) -> None:
    """With the parser's own error, in milliseconds of computing; a minute and more before."""
    began = time.process_time()
    with pytest.raises(tomllib.TOMLDecodeError):
        read_toml(text)
    assert time.process_time() - began < 5


def test_the_place_of_a_long_key_is_said() -> None:
    """Sixteen parts are read; the seventeenth is named by line and column. Dots in strings and numbers are none."""
    assert read_toml('a = "' + "b." * 100 + '"\nc = [1.5, 1979-05-27T07:32:00.5Z, 2.5]\n' + ".".join("d" * 16) + "= 1")
    with pytest.raises(tomllib.TOMLDecodeError, match=r"more than 16 parts \(at line 2, column 33\)"):
        read_toml("a = 1\n" + ".".join("d" * 17) + "= 1")


@given(st.lists(_WORD, max_size=6).map("\n".join))
def test_what_the_parser_reads_is_read_alike(text: str) -> None:
    """Whatever its strings, comments and keys are."""
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(tomllib.TOMLDecodeError):
            read_toml(text)
    else:
        assert read_toml(text) == expected
