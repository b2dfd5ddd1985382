"""Journey definitions: the model of the TOML that a strategy manager writes, and reading it.

The model is also the JSON schema (``schema``). Owns shapes and bounds; whether a definition makes sense is lint.py's.
Must not know a journey, SQL or HTTP.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from gateway.core.bounded.toml import read_toml

# Bounds are our choice: a definition that needs more is several definitions.
_MOST_CHARACTERS = 100_000
LONGEST = timedelta(days=400)  # of any duration: a year and some
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,63}$")]
StepId = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,39}$")]
ChannelName = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,31}$")]
Route = Annotated[tuple[ChannelName, ...], Meta(min_length=1, max_length=10)]
Share = Annotated[float, Meta(gt=0, lt=1)]
ClockTime = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
EventName = Annotated[str, Meta(pattern=r"^case\.[a-z][a-z0-9_]{0,34}$")]  # the webhook's type has 40 characters

ExitWord = Literal[
    "paid",
    "plan_agreed",
    "closed",
    "dispute",
    "wrong_party",
    "deceased",
    "bankruptcy",
    "attorney_represented",
    "cease",
    "complaint_open",
    "opted_out",
]
PauseWord = Literal["hold", "promise_to_pay"]
WaitWord = Literal["delivered", "read", "replied", "failed"]
NeedWord = Literal["plan_offered", "two_delivered", "no_hold", "hardship_asked", "notice_over"]


class Bound(Struct, frozen=True, forbid_unknown_fields=True):
    """What a fact has to meet; several bounds must all be met. The same comparisons as in a portfolio's mapping."""

    at_least: float | None = None
    at_most: float | None = None
    equals: str | float | bool | None = None
    one_of: tuple[str | float | bool, ...] | None = None


Conditions = dict[StepId, Bound | str | float | bool]


class EntryRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Which cases enter, and what the steps' days are counted from."""

    when: Conditions
    once_per: Literal["case", "due_date", "plan"] = "case"
    # entry: day 1 is the day of entry. due_date: day n is n days overdue. first_instalment: day 0 is that date.
    counts_from: Literal["entry", "due_date", "first_instalment"] = "entry"


class ExitRules(Struct, frozen=True, forbid_unknown_fields=True):
    """What ends a journey at any instant, besides what always does (``advance.ALWAYS_EXIT``)."""

    on: tuple[ExitWord, ...] = ()


class PauseRules(Struct, frozen=True, forbid_unknown_fields=True):
    """What stops a journey for as long as it lasts, and how long after its end nothing follows."""

    on: tuple[PauseWord, ...] = ("hold", "promise_to_pay")
    resume_after: timedelta = timedelta(0)


class MessageRules(Struct, frozen=True, forbid_unknown_fields=True):
    """A message: a template on a route of channels."""

    template: Name
    route: Route


class PromiseRules(Struct, frozen=True, forbid_unknown_fields=True):
    """A promise to pay: the reminder on the day before, and how the journey goes on when the promise is broken."""

    remind: MessageRules | None = None
    broken: Literal["same", "gentler"] = "same"  # gentler: the steps' ``gentler`` messages from then on


class PlanRules(Struct, frozen=True, forbid_unknown_fields=True):
    """An agreed plan ends the journey (where ``exit`` names it) and enters this one."""

    enter: Name


class HoldoutRules(Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the cases that waits before the first step, so that the effect can be measured."""

    share: Share
    longest: timedelta


class ArmRules(Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the cases for which the steps of this arm apply, and not those of the others."""

    name: Name
    share: Share


class PaceRules(Struct, frozen=True, forbid_unknown_fields=True):
    """When on its day a step is due, how far apart steps are, and what becomes of those that an outage held up.

    ``at`` is local time; cases are spread evenly over ``spread`` after it. A step that is more than ``tolerance`` late
    is skipped, or done and all later days moved by as much (``from_today``). Defaults are our choice.
    """

    at: ClockTime = "10:00"
    spread: timedelta = timedelta(hours=4)
    least: timedelta = timedelta(days=1)
    late: Literal["skip", "from_today"] = "from_today"
    tolerance: timedelta = timedelta(days=2)


class WaitRules(Struct, frozen=True, forbid_unknown_fields=True):
    """What a step waits for before the next one, at longest for ``longest``. No ``until``: for that time."""

    longest: timedelta
    until: tuple[WaitWord, ...] = ()


class BranchRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the journey goes on, where the conditions hold: at a later step."""

    when: Conditions
    to: StepId


class GateRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Persons' approvals before a step. ``notice`` is the least time since a step that ``gives_notice``."""

    approvals: Annotated[int, Meta(ge=2, le=5)] = 2
    expires: timedelta = timedelta(days=14)
    needs: tuple[NeedWord, ...] = ()
    notice: timedelta = timedelta(0)


class OfferRules(Struct, frozen=True, forbid_unknown_fields=True):
    """The repayment plan that a step offers: equal parts of what is due, the first one so long after the message."""

    instalments: Annotated[int, Meta(ge=2, le=60)]
    first_after: timedelta = timedelta(days=14)


class StepRules(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step: a message, a gate, or an event alone. ``day`` or ``after`` (the end of the step before) dates it."""

    id: StepId
    day: Annotated[int, Meta(ge=-60, le=1000)] | None = None
    after: timedelta | None = None
    template: Name | None = None
    route: Annotated[tuple[ChannelName, ...], Meta(max_length=10)] = ()
    gentler: Name | None = None  # the template after a broken promise
    stage: Annotated[str, Meta(max_length=64)] = ""  # the notification's stage; default: the step's id
    when: Conditions | None = None
    arm: tuple[Name, ...] = ()
    wait: WaitRules | None = None
    branch: tuple[BranchRules, ...] = ()
    offer: OfferRules | None = None
    asks: Literal["hardship"] | None = None
    gives_notice: bool = False
    late: Literal["skip", "from_today"] | None = None
    gate: GateRules | None = None
    emits: EventName | None = None
    each: Literal["instalment"] | None = None  # once for every instalment of the plan; ``day`` counts from its date

    def message(self, *, gentler: bool) -> str:
        """The template to send; "" for a step without a message."""
        return (self.gentler if gentler else None) or self.template or ""


class JourneyDefinition(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole definition."""

    name: Name
    title: Annotated[str, Meta(max_length=200)] = ""
    enter: EntryRules
    exit: ExitRules = ExitRules()
    pause: PauseRules = PauseRules()
    promise: PromiseRules = PromiseRules()
    plan: PlanRules | None = None
    holdout: HoldoutRules | None = None
    arms: Annotated[tuple[ArmRules, ...], Meta(max_length=10)] = field(default=(), name="arm")
    pace: PaceRules = PaceRules()
    steps: Annotated[tuple[StepRules, ...], Meta(min_length=1, max_length=100)] = field(name="step")

    def index_of(self, step_id: str) -> int:
        """The place of a step; -1 where there is no such step (a version may have dropped it)."""
        return next((at for at, each in enumerate(self.steps) if each.id == step_id), -1)


class BadDefinition(ValueError):
    """The text is no definition; the message names the place and the remedy."""


def schema() -> dict[str, Any]:
    """The JSON schema of a definition."""
    return msgspec.json.schema(JourneyDefinition)


@lru_cache(maxsize=256)
def parse(source: str) -> JourneyDefinition:
    """Read a definition. Raises BadDefinition."""
    if len(source) > _MOST_CHARACTERS:
        raise BadDefinition(f"is longer than {_MOST_CHARACTERS} characters")
    try:
        document = read_toml(source)
    except tomllib.TOMLDecodeError as error:
        raise BadDefinition(str(error)) from None
    return from_document(document)


def from_document(document: Mapping[str, Any]) -> JourneyDefinition:
    """A decoded TOML document as a definition. Raises BadDefinition."""
    try:
        made = msgspec.convert(document, JourneyDefinition)
    except msgspec.ValidationError as error:
        raise BadDefinition(str(error)) from None
    for place, duration in _durations(msgspec.to_builtins(made, builtin_types=(timedelta,)), ""):
        if not timedelta(0) <= duration <= LONGEST:
            raise BadDefinition(f"{place}: must be between nothing and {LONGEST.days} days, written like P3D or PT4H")
    return made


def _durations(node: Any, place: str) -> Iterator[tuple[str, timedelta]]:
    if isinstance(node, timedelta):
        yield place, node
    elif isinstance(node, Mapping):
        for name, each in node.items():
            yield from _durations(each, f"{place}/{name}")
    elif isinstance(node, list | tuple):
        for number, each in enumerate(node):
            yield from _durations(each, f"{place}/{number}")


def sha_of(source: str) -> str:
    """What pins a journey to the text that it entered by."""
    return hashlib.sha256(source.encode()).hexdigest()


def parse_pinned(source: str, version: str) -> JourneyDefinition | None:
    """A stored text as the definition that journeys were pinned to; None where it is none, or was changed since."""
    if sha_of(source) != version:
        return None
    try:
        return parse(source)
    except BadDefinition:
        return None


def stand_in(name: str) -> JourneyDefinition:
    """What stands for a definition that can't be used: it has no steps, and only ends what always ends."""
    return JourneyDefinition(name=name, enter=EntryRules({}), steps=())
