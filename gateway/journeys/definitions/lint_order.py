"""The lint's part about the order of steps: what is reached, when at the earliest, and what comes before a legal step.

Each arm is looked at by itself, for the steps of the others never follow its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from gateway.journeys.definitions.findings import JourneyFinding, error
from gateway.journeys.definitions.model import JourneyDefinition, StepRules

_DAY = timedelta(days=1)


def order(definition: JourneyDefinition) -> Iterator[JourneyFinding]:
    """Branches that lead back, steps that nothing reaches, days that go backwards, waits longer than what follows."""
    for at, step in enumerate(definition.steps):
        for branch in step.branch:
            if definition.index_of(branch.to) <= at:
                yield error("backward_branch", step.id, f"leads to {branch.to}, which is no later step")
    reached: set[int] = set()
    for arm in [each.name for each in definition.arms] or [""]:
        in_arm = [not each.arm or arm in each.arm for each in definition.steps]
        paths = _paths(definition, in_arm)
        reached |= {at for at, _ in paths if at < len(in_arm) and in_arm[at]}
        for at, step in enumerate(definition.steps):
            if step.gate is not None and in_arm[at] and (at, False) in paths:
                detail = "can be reached before a plan was offered; put a step with offer on every way to it"
                yield error("legal_before_offer", step.id, detail)
        yield from _dates(definition, [step for step, mine in zip(definition.steps, in_arm, strict=True) if mine])
    for at, step in enumerate(definition.steps):
        if at not in reached:
            yield error("unreachable_step", step.id, "is never reached; remove it, or have a branch lead to it")


def _paths(definition: JourneyDefinition, in_arm: Sequence[bool]) -> set[tuple[int, bool]]:
    """The steps that may be reached, each with whether a plan was offered on the way. One after the last: the end."""
    found: set[tuple[int, bool]] = set()
    waiting = [(0, False)]
    while waiting:
        place = waiting.pop()
        if place in found:
            continue
        found.add(place)
        at, offered = place
        if at == len(definition.steps):
            continue
        step = definition.steps[at]
        if not in_arm[at]:
            waiting.append((at + 1, offered))
            continue
        after = offered or (step.offer is not None and step.template is not None)
        targets = [definition.index_of(each.to) for each in step.branch]
        waiting += [(target, after) for target in targets if target > at]
        # A branch without conditions is always taken, unless the step itself is left out.
        if step.when is not None or all(each.when for each in step.branch):
            waiting.append((at + 1, after))
    return found


def _dates(definition: JourneyDefinition, steps: Sequence[StepRules]) -> Iterator[JourneyFinding]:
    """Days that go backwards, and waits that are longer than what follows, among the steps of one arm."""
    # When the step before is done at the earliest; None: not known, as an entry before or after the due date.
    begins = _DAY if definition.enter.counts_from == "entry" else None
    before: StepRules | None = None
    for step in steps:
        if step.day is not None:
            follows: timedelta | None = step.day * _DAY
        else:
            follows = begins + (step.after or timedelta(0)) if begins is not None else None
        gap = step.after
        if gap is None and follows is not None and begins is not None:
            gap = follows - begins
        if before is not None and gap is not None:
            yield from _follows(before, step, gap)
        before, begins = step, follows


def _follows(before: StepRules, step: StepRules, gap: timedelta) -> Iterator[JourneyFinding]:
    """What is wrong with a step that comes ``gap`` after the one before."""
    if gap < timedelta(0):
        detail = f"is on day {step.day}, {_spoken(-gap)} before {before.id} may be done; put the steps in order"
        yield error("backward_day", step.id, detail)
    elif before.wait is not None and before.wait.longest > gap:
        detail = f"waits up to {_spoken(before.wait.longest)}, and {step.id} is {_spoken(gap)} later"
        yield error("wait_too_long", before.id, f"{detail}; shorten the wait, or move the next step")


def _spoken(duration: timedelta) -> str:
    days = duration / _DAY
    return f"{days:g} days" if days != 1 else "1 day"
