"""What people may do at the desk: each act has the role that it takes, and a reason, which is kept as evidence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import TypeVar
from zoneinfo import ZoneInfo

from gateway.borrowers.four_eyes import FourEyes, ProposedByThemselves
from gateway.borrowers.store import BorrowerStore
from gateway.core.clock import Clock
from gateway.core.facts import Hold
from gateway.core.notifications import Category
from gateway.core.reasons import HoldKind
from gateway.identity.users import Role
from gateway.journeys.cases.record import CaseRecord, Closing
from gateway.journeys.cases.store import CaseStore
from gateway.policy import SharedAct
from gateway.storage.reads import Filter, Reads

T = TypeVar("T", HoldKind, Category)

# Why a case is closed, as the API's word for it.
CLOSINGS = ("paid", "settled", "sold", "withdrawn")
_OPT_OUT_SOURCE = "desk"


class BadAct(Exception):
    """The act can't be done; ``key`` is the page's text."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True)
class DeskServices:
    """What the acts are done by."""

    people: BorrowerStore
    cases: CaseStore
    reads: Reads
    four_eyes: FourEyes
    channels: frozenset[str]
    clock: Clock


# What the page says then: a key after ``desk_``, or None for the act's own.
Do = Callable[[DeskServices, str, str, Mapping[str, str], str, str], Awaitable[str | None]]
PROPOSED = "proposed"


@dataclass(frozen=True, slots=True)
class DeskAct:
    """``do`` gets the tenant, the borrower, the form's fields, the reason and the actor. Raises BadAct, Unavailable."""

    role: Role
    do: Do


async def _hold(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> None:
    latest = await services.reads.latest(tenant, borrower)
    zone = latest.borrower.time_zones[0] if latest and latest.borrower.time_zones else "UTC"
    now, end = services.clock(), _day(form.get("until", ""), zone)
    if end is not None and end <= now:
        raise BadAct("desk_end_is_past")
    kind = _one_of(HoldKind, form.get("kind", ""))
    await services.people.put_hold(tenant, borrower, Hold(kind, now, end, form.get("case_id") or None), reason, actor)


async def _lift_hold(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> str | None:
    kind, act = _one_of(HoldKind, form.get("kind", "")), SharedAct.LIFT_HOLD
    if not await permitted(services.four_eyes, tenant, borrower, act, kind, kind, reason, actor):
        return PROPOSED
    _require(await services.people.lift_hold(tenant, borrower, kind, actor, reason))
    await services.four_eyes.done(tenant, borrower, act, kind, actor)
    return None


def _channel(services: DeskServices, form: Mapping[str, str]) -> str | None:
    """The channel that an opt-out or a consent is of; None: all of them. Raises BadAct."""
    channel = form.get("channel") or None
    if channel is not None and channel not in services.channels:
        raise BadAct("form_unreadable")
    return channel


async def _opt_out(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> None:
    channel = _channel(services, form)
    await services.people.add_opt_out(tenant, borrower, channel, None, _OPT_OUT_SOURCE, actor, reason)


async def _lift_opt_out(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> None:
    _require(await services.people.lift_opt_out(tenant, borrower, form.get("opt_out_id", ""), actor, reason))


async def _consent(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> None:
    category, channel = _one_of(Category, form.get("category", "")), _channel(services, form)
    await services.people.give_consent(tenant, borrower, category, _OPT_OUT_SOURCE, reason, actor, channel)


async def _withdraw_consent(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> None:
    category, channel = _one_of(Category, form.get("category", "")), _channel(services, form)
    _require(await services.people.withdraw_consent(tenant, borrower, category, actor, channel, reason=reason))


async def _cancel(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> None:
    identifier = form.get("notification_id", "").replace("\x00", "")
    # Of this borrower: the administrators' log names the one whose page it was done on.
    found = await services.reads.notification(tenant, identifier)
    if found is None or found["borrower_id"] != borrower:
        raise BadAct("desk_changed_meanwhile")
    _require(await services.people.cancel(tenant, identifier, actor, reason) == "cancelled")


async def _close_case(
    services: DeskServices, tenant: str, borrower: str, form: Mapping[str, str], reason: str, actor: str
) -> None:
    case, closing = form.get("case_id", "").replace("\x00", ""), form.get("closing", "")
    if closing not in CLOSINGS:
        raise BadAct("form_unreadable")
    _require(bool(await services.reads.notifications(tenant, Filter(borrower_id=borrower, case_id=case), 1)))
    part = CaseRecord(case, closing=Closing(closing, services.clock()))
    await services.cases.feed(tenant, [part], actor, borrower_id=borrower, why=reason)


ACTS: Mapping[str, DeskAct] = {
    "hold": DeskAct(Role.AGENT, _hold),
    "lift-hold": DeskAct(Role.SUPERVISOR, _lift_hold),
    "opt-out": DeskAct(Role.AGENT, _opt_out),
    "lift-opt-out": DeskAct(Role.SUPERVISOR, _lift_opt_out),
    "consent": DeskAct(Role.AGENT, _consent),
    "withdraw-consent": DeskAct(Role.AGENT, _withdraw_consent),
    "cancel": DeskAct(Role.AGENT, _cancel),
    "close-case": DeskAct(Role.SUPERVISOR, _close_case),
}


async def permitted(
    four_eyes: FourEyes, tenant: str, borrower: str, act: SharedAct, target: str, kind: str, reason: str, actor: str
) -> bool:
    """``FourEyes.permit``, for a page. Raises BadAct."""
    try:
        return await four_eyes.permit(tenant, borrower, act, target, kind, reason, actor)
    except ProposedByThemselves:
        raise BadAct("desk_same_person") from None


def _one_of(kind: type[T], value: str) -> T:
    try:
        return kind(value)
    except ValueError:
        raise BadAct("form_unreadable") from None


def _day(text: str, zone: str) -> datetime | None:
    """The end of a day by the borrower's clock; None for an empty field."""
    if not text:
        return None
    try:
        day = datetime.fromisoformat(text).date()
        return datetime.combine(day, time.max.replace(microsecond=0), ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadAct("form_unreadable") from None


def _require(done: bool) -> None:
    if not done:
        raise BadAct("desk_changed_meanwhile")
