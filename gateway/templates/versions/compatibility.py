"""Compares a new version's variables with those of recent requests, to find the callers that it would break.

Pure functions: the requests are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.templates.language.variables import VariableSpec, check
from gateway.templates.translatable import Translatable, translatable
from gateway.templates.versions.callers import RecentCaller


@dataclass(frozen=True, slots=True)
class BrokenCaller:
    """A caller whose requests would be refused: ``share`` of its samples, 0 to 1; ``why`` never has a value."""

    client: str
    name: str
    requests: int
    share: float
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Consequence:
    """A consequence of publishing. ``code``: variables, live_changed, planned_later or provider_template."""

    code: str
    detail: str
    callers: tuple[BrokenCaller, ...] = ()


def caller_changes(before: Mapping[str, VariableSpec], after: Mapping[str, VariableSpec]) -> list[Translatable]:
    """Sentences on what a caller of ``before`` has to change for ``after``; empty where nothing."""
    found = []
    for name, spec in after.items():
        old = before.get(name)
        if old is None and spec.required:
            found.append(translatable("{name} ({type}) is now required", name=name, type=spec.type))
        elif old is not None and old.type != spec.type:
            found.append(
                translatable("{name} must now be of type {type}, not {old}", name=name, type=spec.type, old=old.type)
            )
        elif old is not None and spec.required and not old.required:
            found.append(translatable("{name} was optional and is now required", name=name))
    found += [
        translatable("{name} was removed: requests that send it are refused", name=name)
        for name in before
        if name not in after
    ]
    return found


def broken_callers(callers: Sequence[RecentCaller], after: Mapping[str, VariableSpec]) -> list[BrokenCaller]:
    """The callers with at least one request that would be refused, the busiest first."""
    found = []
    for each in callers:
        problems = [check(after, given) for given in each.samples]
        refused = [each for each in problems if each]
        if refused:
            why = sorted({one.sentence for some in refused for one in some})
            share = len(refused) / len(each.samples)
            found.append(BrokenCaller(each.client, each.name, each.requests, share, tuple(why)))
    return sorted(found, key=lambda one: -one.requests)
