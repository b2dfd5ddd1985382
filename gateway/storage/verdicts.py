"""Verdicts in the ledger: each stored once, under the hash of its contents; an event has the hash and its own figures.

Nearly all verdicts of a day are the same but for instants, counts and time zones, and each is two thousand bytes with
its rules. The event's own hash covers the reference, and with it the contents. Must not know what a verdict means.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from gateway.storage.tables.path import verdicts

VERDICT = "verdict"  # the member of an event's detail
_OF = "of"  # the member of a reference that has the digest
_OWN = ("until", "valid_until", "time_zones")  # what is the event's own: of a verdict; of its rules see ``_split``
_COUNT = re.compile(r"(0|[1-9][0-9]{0,8}) (.*)", re.DOTALL)  # "3 of 7 in 7 consecutive_days": the count, and the rest
_UNTIL = 6  # of a rule's members, in the order of ``verdict_view``, those before its instant and its detail
_Rule = tuple[tuple[str, Any], ...]
_REFERENCE = re.compile(rf'"{VERDICT}":{{"{_OF}":"([\w-]{{43}})"')
_encode = msgspec.json.Encoder().encode


def fold(verdict: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """A verdict's view as a reference, with the digest and the text of what is stored once."""
    parts = [_split(tuple(rule.items())[:_UNTIL], rule["detail"]) for rule in verdict["rules"]]
    digest, text = _stored(
        verdict["verdict"],
        verdict["reason"],
        tuple(rule for rule, _ in parts),
        verdict["tzdata"],
        tuple((pack["name"], pack["version"], pack["sha256"]) for pack in verdict["packs"]),
    )
    untils = {str(at): rule["until"] for at, rule in enumerate(verdict["rules"]) if rule["until"]}
    counts = [count for _, count in parts if count is not None]
    own = {"counts": counts, "untils": untils, **{name: verdict[name] for name in _OWN}}
    return {_OF: digest, **{name: value for name, value in own.items() if value}}, digest, text


@lru_cache(4096)  # some hundred results of rules, each with its counts
def _split(shared: _Rule, detail: str) -> tuple[_Rule, int | None]:
    """What a rule's result has in common with others, and the count that its detail begins with, if one does."""
    found = _COUNT.fullmatch(detail)
    if found is None:
        return (*shared, ("detail", detail)), None
    return (*shared, ("detail", found[2]), ("counted", True)), int(found[1])


@lru_cache(256)  # verdicts in use, of some two thousand bytes each
def _stored(
    kind: str, reason: str, rules: tuple[_Rule, ...], tzdata: str, packs: tuple[tuple[str, str, str], ...]
) -> tuple[str, str]:
    """The digest and the text of a verdict without what is a single event's own."""
    text = _encode(
        {
            "verdict": kind,
            "reason": reason,
            "rules": [dict(rule) for rule in rules],
            "tzdata": tzdata,
            "packs": [{"name": name, "version": version, "sha256": sha} for name, version, sha in packs],
        }
    ).decode()
    return digest_of(text), text


def unfold(reference: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The view that ``fold`` was given."""
    shared, untils, counts = msgspec.json.decode(text), reference.get("untils", {}), iter(reference.get("counts", ()))
    rules = []
    for at, rule in enumerate(shared["rules"]):
        detail = rule.pop("detail")
        if rule.pop("counted", False):
            detail = f"{next(counts)} {detail}"
        rules.append({**rule, "until": untils.get(str(at)), "detail": detail})
    return {
        "verdict": shared["verdict"],
        "reason": shared["reason"],
        "until": reference.get("until"),
        "valid_until": reference.get("valid_until"),
        "rules": rules,
        "time_zones": reference.get("time_zones", []),
        "tzdata": shared["tzdata"],
        "packs": shared["packs"],
    }


def is_view(verdict: object) -> bool:
    """Whether this is a verdict's view, which can be folded."""
    return isinstance(verdict, Mapping) and _OF not in verdict and "rules" in verdict


def digest_of(text: str) -> str:
    """SHA-256 as base64url without padding: 43 characters (RFC 4648, section 5)."""
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest())[:-1].decode()


def references(details: Iterable[str]) -> set[str]:
    """The digests that these events' details refer to."""
    return {found[1] for detail in details if (found := _REFERENCE.search(detail))}


def texts_of(connection: Connection, digests: Iterable[str]) -> dict[str, str]:
    """The texts that are stored under these digests."""
    wanted = sorted(digests)
    if not wanted:
        return {}
    rows = connection.execute(select(verdicts).where(verdicts.c.digest.in_(wanted)))
    return {row.digest: row.text for row in rows}


def whole_details(connection: Connection, details: Iterable[str]) -> list[dict[str, Any]]:
    """Events' details as they were given to the chain, each with its whole verdict."""
    stored = list(details)
    texts = texts_of(connection, references(stored))
    return [whole_detail(each, texts) for each in stored]


def whole_detail(detail: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """An event's detail with its whole verdict, from these texts by digest; as it is stored where that is missing."""
    found: dict[str, Any] = msgspec.json.decode(detail)
    reference = found.get(VERDICT)
    if isinstance(reference, dict) and reference.get(_OF) in texts:
        found[VERDICT] = unfold(reference, texts[reference[_OF]])
    return found
