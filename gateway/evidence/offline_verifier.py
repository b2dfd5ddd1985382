"""Verifies the evidence for one borrower: python3 verify.py [FOLDER or ZIP]. Needs Python 3.9 or later alone.

Every event carries the SHA-256 hash of its own fields and of the hash of the event before it of the same subject. So
an event that was changed, removed, added or moved breaks its chain, and this program names it. The words of a message
are proved by the event of the attempt that handed them over, which has their SHA-256 digest; a decision with its
rules is proved likewise by the events that refer to it. heads.json has the hash of each subject's last event as the
ledger had it when the evidence was made; who compares them with the ledger, or with a copy that was noted down then,
knows that nobody has made all of the chains anew.

The exit status is 0 where everything holds, and 1 otherwise.
"""

import base64
import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The fields of an event in the order in which they are hashed, then its own hash.
SEALED = (
    "previous_hash",
    "tenant",
    "subject",
    "delivery_id",
    "at_ms",
    "local_at",
    "kind",
    "state",
    "reason",
    "actor",
    "detail",
)
EVENT_FIELDS = (*SEALED, "hash")
WORDS_FIELDS = ("delivery_id", "attempt", "content")
VERDICT_FIELDS = ("digest", "text")
_TYPES = {"at_ms": int, "attempt": int}  # all others are texts
# What SHA256SUMS covers, in its order.
FILES = (
    "evidence.en.html",
    "evidence.zh.html",
    "events.jsonl",
    "heads.json",
    "verdicts.jsonl",
    "verify.py",
    "words.jsonl",
)
# Covered too where the archive has them: making them takes a library and a font.
PDFS = ("evidence.en.pdf", "evidence.zh.pdf")
Read = Callable[[str], bytes]


def dump(value: Any) -> str:
    """JSON without spaces, in which one value has one spelling."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event_hash(event: dict[str, Any]) -> str:
    """As it is written in the event: in base64url, or in 64 hexadecimal digits, as it was before."""
    sealed = dump([event[name] for name in SEALED])
    return hashlib.sha256(sealed.encode()).hexdigest() if len(event["hash"]) == 64 else text_digest(sealed)


def text_digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode().rstrip("=")


def sum_line(name: str, content: bytes) -> bytes:
    """A line of SHA256SUMS, as ``sha256sum --check`` reads it, without its end."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}".encode()


def check(read: Read) -> tuple[int, list[str]]:
    """The number of events, and everything that is wrong. ``read`` gives the content of a file of the evidence."""
    faults: list[str] = []
    events = list(_lines(read, "events.jsonl", EVENT_FIELDS, faults))
    _check_chains(events, _heads(read, faults), faults)
    _check_words(read, [event for _, event in events], faults)
    _check_verdicts(read, [event for _, event in events], faults)
    _check_files(read, faults)
    return len(events), faults


def _check_chains(events: list[tuple[int, dict[str, Any]]], heads: dict[str, str], faults: list[str]) -> None:
    last: dict[str, str] = {}
    for line, event in events:
        subject, name = event["subject"], f"events.jsonl, line {line} ({event['kind']} of {event['subject']})"
        if event_hash(event) != event["hash"]:
            faults.append(name + ": this event was changed")
        if event["previous_hash"] != last.get(subject, ""):
            faults.append(name + ": does not follow the one before it; an event was removed, added or moved here")
        last[subject] = event["hash"]
    for subject in sorted({*heads, *last}):
        if subject not in heads:
            faults.append(f"heads.json: {subject} is missing")
        elif last.get(subject) != heads[subject]:
            faults.append(f"events.jsonl: the last event of {subject} is missing or was changed")


def _heads(read: Read, faults: list[str]) -> dict[str, str]:
    try:
        heads = json.loads(read("heads.json").decode())
        if isinstance(heads, dict):
            return heads
    except (KeyError, OSError, ValueError):
        pass
    faults.append("heads.json: is missing or was changed")
    return {}


def _check_words(read: Read, events: list[dict[str, Any]], faults: list[str]) -> None:
    proved: dict[tuple[str, int], str] = {}
    for event in events:
        try:
            detail = json.loads(event["detail"])
            if "words" in detail:
                proved[event["delivery_id"], detail["attempt"]] = detail["words"]
        except (KeyError, TypeError, ValueError):
            pass  # a changed event, which is named already
    for line, words in _lines(read, "words.jsonl", WORDS_FIELDS, faults):
        key = (words["delivery_id"], words["attempt"])
        if proved.get(key) != text_digest(words["content"]):
            faults.append(f"words.jsonl, line {line} ({key[0]}): these are not the words that were handed over")


def _check_verdicts(read: Read, events: list[dict[str, Any]], faults: list[str]) -> None:
    wanted: set[str] = set()
    for event in events:
        try:
            verdict = json.loads(event["detail"]).get("verdict")
        except (AttributeError, TypeError, ValueError):
            continue  # a changed event, which is named already
        if isinstance(verdict, dict) and isinstance(verdict.get("of"), str):
            wanted.add(verdict["of"])
    for line, verdict in _lines(read, "verdicts.jsonl", VERDICT_FIELDS, faults):
        if text_digest(verdict["text"]) != verdict["digest"]:
            faults.append(f"verdicts.jsonl, line {line}: was changed")
        wanted.discard(verdict["digest"])
    faults.extend(f"verdicts.jsonl: the decision {each} is missing" for each in sorted(wanted))


def _lines(read: Read, name: str, fields: tuple[str, ...], faults: list[str]) -> list[tuple[int, dict[str, Any]]]:
    """The lines of a file with their numbers. A line that is not spelt as it was written is a fault."""
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        content = read(name)
    except (KeyError, OSError):
        faults.append(f"{name}: is missing")
        return found
    lines = content.split(b"\n")
    if lines.pop():
        faults.append(f"{name}, line {len(lines) + 1}: its end is missing")
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line.decode())
            good = tuple(value) == fields and dump(value).encode() == line
            good = good and all(type(value[each]) is _TYPES.get(each, str) for each in fields)
        except (TypeError, ValueError):
            good = False
        if good:
            found.append((number, value))
        else:
            faults.append(f"{name}, line {number}: was changed; it is not as it was written")
    return found


def _check_files(read: Read, faults: list[str]) -> None:
    """SHA256SUMS covers the pages, which are made of the events and the words, and this program."""
    try:
        given = read("SHA256SUMS")
    except (KeyError, OSError):
        faults.append("SHA256SUMS: is missing")
        return
    lines = given.split(b"\n")
    names = [*FILES, *(name for name in PDFS if _has(read, name) or name.encode() in given)]
    for name in names:
        if not _has(read, name) or sum_line(name, read(name)) not in lines:
            faults.append(f"{name}: is missing or was changed, or its line in SHA256SUMS was")
    if not faults and given != b"".join(sum_line(name, read(name)) + b"\n" for name in names):
        faults.append("SHA256SUMS: was changed")


def _has(read: Read, name: str) -> bool:
    try:
        read(name)
    except (KeyError, OSError):
        return False
    return True


def main(where: str) -> int:
    path = Path(where)
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            number, faults = check(archive.read)
    else:
        number, faults = check(lambda name: (path / name).read_bytes())
    for fault in faults:
        sys.stdout.write(f"WRONG  {fault}\n")
    if not faults:
        sys.stdout.write(f"Everything holds: {number} events in unbroken chains, and the words that they prove.\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent)))
