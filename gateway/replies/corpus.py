"""Collections of replies with their intents: for training and evaluation."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway.core.reasons import Intent
from gateway.replies.normalisation import Normaliser


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


def split(corpus: Iterable[LabelledReply], normalise: Normaliser) -> tuple[list[LabelledReply], list[LabelledReply]]:
    """The half to train on and the half held out, by a digest of the normal form: no wording is in both."""
    halves: tuple[list[LabelledReply], list[LabelledReply]] = ([], [])
    for each in corpus:
        words = normalise(each.text).replace("|", " ").replace(" ", "")
        halves[hashlib.sha256(words.encode()).digest()[0] % 2].append(each)
    return halves
