"""Collections of replies with their intents: for training and evaluation.

Besides texts there are patterns, for training alone: ``(a|b|)`` stands for one of its alternatives, and ``{name}`` for
one of those of a line ``= name: a|b``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway.core.reasons import Intent
from gateway.replies.normalisation import Normaliser

_ALTERNATIVES = re.compile(r"\(([^()]*)\)")
_MORE_WITH_NAMES = 5  # times as many texts of a pattern with a name, which has hundreds of alternatives; our choice


@dataclass(frozen=True, slots=True)
class LabelledReply:
    """What somebody wrote, in which language, and what it says."""

    text: str
    language: str
    intent: Intent


def read_labelled(path: Path) -> list[LabelledReply]:
    """Read a .jsonl or .csv file with text, language and intent. Raises ValueError naming the line."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = map(json.loads, filter(str.strip, file)) if path.suffix == ".jsonl" else csv.DictReader(file)
        found = []
        try:
            for row in rows:
                found.append(LabelledReply(str(row["text"]), str(row.get("language") or ""), Intent(row["intent"])))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            what = f"row {len(found) + 1}: {error}; each needs text, language and a known intent"
            raise ValueError(f"{path.name}: {what}") from None
    return found


def read_corpus(folder: Path) -> list[LabelledReply]:
    """Our own corpus: a file for each language, in which a line ``# intent`` stands before that intent's texts."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        intent = Intent.OTHER
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("# "):
                intent = Intent(line[2:])
            else:
                found += [LabelledReply(text, path.stem, intent) for text in line.split("|")]
    return found


def read_patterns(folder: Path, each: int) -> list[LabelledReply]:
    """The texts of our patterns, at most ``each`` of a pattern, always the same; not all of them are sentences."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        intent, names = Intent.OTHER, dict[str, str]()
        for line in filter(None, path.read_text("utf-8").splitlines()):
            if line.startswith("# "):
                intent = Intent(line[2:])
            elif line.startswith("= "):
                name, _, alternatives = line[2:].partition(": ")
                names[name] = f"({alternatives})"
            else:
                number = each * _MORE_WITH_NAMES if "{" in line else each
                found += [LabelledReply(text, path.stem, intent) for text in _texts(line.format(**names), number)]
    return found


def digest_of_training(folder: Path, normal_forms: Path) -> str:
    """Of all that weights are made from: the script, the corpus, the patterns and the table of normal forms.

    Weights whose ``trained_on`` is another one are to be trained anew.
    """
    paths = [folder / "train", *sorted(folder.glob("corpus/*.txt")), *sorted(folder.glob("training/*.txt"))]
    digest = hashlib.sha256()
    for path in (*paths, normal_forms):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _texts(pattern: str, number: int) -> list[str]:
    """Texts of a pattern by chance, which begins alike for the same pattern."""
    chance = random.Random(pattern)
    found: dict[str, None] = {}
    for _ in range(3 * number):
        text = pattern
        while alternatives := _ALTERNATIVES.search(text):
            chosen = chance.choice(alternatives.group(1).split("|"))
            text = text[: alternatives.start()] + chosen + text[alternatives.end() :]
        found[" ".join(text.split())] = None
        if len(found) >= number:
            break
    return list(found)


def split(corpus: Iterable[LabelledReply], normalise: Normaliser) -> tuple[list[LabelledReply], list[LabelledReply]]:
    """The half to train on and the half held out, by a digest of the normal form: no wording is in both."""
    halves: tuple[list[LabelledReply], list[LabelledReply]] = ([], [])
    for each in corpus:
        words = wording(each.text, normalise)
        halves[hashlib.sha256(words.encode()).digest()[0] % 2].append(each)
    return halves


def wording(text: str, normalise: Normaliser) -> str:
    """What two texts of the same wording have in common: the normal form without marks and spaces."""
    return normalise(text).replace("|", " ").replace(" ", "")
