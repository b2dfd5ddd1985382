"""The project's vocabulary: each word is where the glossary says, retired words are gone, a class name occurs once."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.ops.promtool import OPS

ROOT = OPS.parent
GLOSSARY = (OPS / "glossary.md").read_text("utf-8")
_WORDS, _RETIRED = GLOSSARY.split("## Retired words")
# The glossary itself names what is retired. A migration keeps the names of its time. A browser library is not ours. The
# client's models are generated from the API's, and have their names.
_LEFT_OUT = re.compile(
    r"ops/glossary\.md|gateway/storage/migrations/|ops/bench/results/|\.min\.js$|__pycache__"
    r"|notification_gateway_client/models\.py$|/node_modules/"
)


def _rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table's rows, without its head."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in rows[1:]]


def _files() -> Iterator[tuple[str, str]]:
    """Path and text of every file that is searched for retired words."""
    paths = [ROOT / "README.md"]
    for folder in ("gateway", "channels", "ops", "tests"):
        paths += sorted((ROOT / folder).rglob("*"))
    for path in paths:
        name = str(path.relative_to(ROOT))
        if path.is_file() and not _LEFT_OUT.search(name):
            try:
                yield name, path.read_text("utf-8")
            except UnicodeDecodeError:
                continue  # a picture


def _letters(text: str) -> str:
    """ "Circuit breaker", circuit_breaker and CircuitBreaker are one word."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def test_every_word_is_where_the_glossary_says() -> None:
    """Whoever looks a word up finds it in the file that is named beside it."""
    missing = []
    for word, _, where in _rows(_WORDS):
        path = ROOT / where.strip("`")
        if not path.is_file() or _letters(word) not in _letters(path.read_text("utf-8")):
            missing.append((word, where))
    assert missing == []


def test_the_words_are_sorted_and_occur_once() -> None:
    """A word has one meaning, and is found without searching."""
    words = [row[0].casefold() for row in _rows(_WORDS)]
    assert words == sorted(set(words))


def test_no_retired_word_is_used() -> None:
    """What was renamed is renamed everywhere: code, API, pages, documents and tests."""
    patterns = [(re.compile(row[0].strip("`")), row[1]) for row in _rows(_RETIRED)]
    found = [
        f"{name}:{number}: {match.group()!r}, use {use}"
        for name, text in _files()
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, use in patterns
        if (match := pattern.search(line))
    ]
    assert found == [], "\n".join(found)


def test_a_class_name_is_defined_once() -> None:
    """Whoever searches for a class finds one."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, text in _files():
        if name.endswith(".py") or text.startswith("#!/usr/bin/env python3"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{name}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
