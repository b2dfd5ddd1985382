"""``/journeys/simulation``: try one definition, or compare two, on fictional, the lender's own, or uploaded cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, get_args

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import GatewayClock, Uses, part
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.journeys.cases.store import CaseStore
from gateway.journeys.definitions.model import BadDefinition, parse
from gateway.journeys.definitions.store import JourneyDefinitions, JourneyRefusal
from gateway.journeys.simulation.view import difference
from gateway.web.access import NotAllowed, PageRoute, checked_form, pages_of, read_body, require_role
from gateway.web.journeys.simulation_worker import MOST_CASES, SimulationJob, SimulationResult, templates_of
from gateway.web.journeys.simulations import SimulationBusy, SimulationFailed, Simulations
from gateway.web.journeys.uploads import read_form_with_file
from gateway.web.plots import PlotSeries, columns
from gateway.web.translations import PageTexts

router = APIRouter(prefix="/journeys/simulation", route_class=PageRoute, include_in_schema=False)

Portfolio = Literal["example", "ledger", "file"]
MOST_DAYS = 365  # our choice; a course to the legal step takes some two months
_USUAL_DAYS = 90
_MAY = (Role.EDITOR, Role.SUPERVISOR)  # who writes definitions, and who answers for cases; it takes a core for seconds
_LEVELS = 4  # of colour in the calendar, by quarters of the busiest day


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """A day of the calendar: ``level`` 0 to 4 by the number of contacts; ``inside`` the simulation."""

    day: date
    number: int
    level: int
    inside: bool


@router.get("")
async def show_form(
    request: Request,
    definitions: Uses[JourneyDefinitions],
    simulations: Uses[Simulations],
    session: Session = Depends(require_role()),
) -> Response:
    return await _page(request, session, definitions, simulations, {})


@router.post("", dependencies=[Depends(require_role())])  # before the file of somebody who is nobody is read
async def run_simulation(
    request: Request, definitions: Uses[JourneyDefinitions], simulations: Uses[Simulations], cases: Uses[CaseStore]
) -> Response:
    """Run it in a process of its own, and show the figures. Nothing is stored, the file neither."""
    try:
        form, file = read_form_with_file(request.headers.get("content-type", ""), await read_body(request))
    except ValueError:
        raise NotAllowed("form_unreadable") from None
    session = await checked_form(request, form, *_MAY)
    problem, result = "", None
    try:
        job = await _job(request, session, definitions, simulations, cases, form, file)
        result = await simulations.run(job)
        problem = result.error
    except _BadForm as bad:
        problem = bad.key
    except SimulationBusy:
        problem = "simulation_busy"
    except SimulationFailed:
        problem = "simulation_failed"
    return await _page(request, session, definitions, simulations, form, problem, result)


class _BadForm(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


async def _job(
    request: Request,
    session: Session,
    definitions: JourneyDefinitions,
    simulations: Simulations,
    cases: CaseStore,
    form: Mapping[str, str],
    file: bytes,
) -> SimulationJob:
    tenant, portfolio, days = session.user.tenant, form.get("portfolio", ""), form.get("days", "")
    if portfolio not in get_args(Portfolio) or not (days.isascii() and days.isdigit() and len(days) <= len("365")):
        raise _BadForm("simulation_bad_form")
    if not form.get("definition") or not 1 <= int(days) <= MOST_DAYS:
        raise _BadForm("simulation_bad_form")
    chosen = [name for name in (form.get("definition", ""), form.get("against", "")) if name]
    sources = [await _source(tenant, name, definitions, simulations) for name in dict.fromkeys(chosen)]
    records = await cases.bodies(tenant, MOST_CASES + 1) if portfolio == "ledger" else []
    if len(records) > MOST_CASES:
        raise _BadForm("simulation_too_many_cases")
    return SimulationJob(
        tuple(sources),
        int(days),
        part(request, GatewayClock)(),
        simulations.policies,
        _categories(tenant, sources, simulations),
        portfolio,  # type: ignore[arg-type]  # checked above
        tuple(records),
        file if portfolio == "file" else b"",
    )


async def _source(tenant: str, chosen: str, definitions: JourneyDefinitions, simulations: Simulations) -> str:
    kind, _, name = chosen.partition(":")
    if kind == "shipped" and name in simulations.shipped:
        return simulations.shipped[name]
    try:
        return str((await definitions.find(tenant, name))["source"])
    except JourneyRefusal:
        raise _BadForm("simulation_bad_form") from None


def _categories(tenant: str, sources: list[str], simulations: Simulations) -> dict[str, str]:
    """The categories of the templates that the definitions name; those that there are not, are left out."""
    found: dict[str, str] = {}
    for source in sources:
        try:
            names = templates_of(parse(source))
        except BadDefinition:
            continue  # the worker says so
        found |= {name: category for name in names if (category := simulations.category(tenant, name)) is not None}
    return found


async def _page(
    request: Request,
    session: Session,
    definitions: JourneyDefinitions,
    simulations: Simulations,
    form: Mapping[str, str],
    problem: str = "",
    result: SimulationResult | None = None,
) -> Response:
    live = [each for each in await definitions.listed(session.user.tenant) if each["state"] == "published"]
    pages = pages_of(request)
    values = {
        "session": session,
        "form": form,
        "may": any(session.user.role.may(each) for each in _MAY),
        "choices": [*(f"live:{each['name']}" for each in live), *(f"shipped:{name}" for name in simulations.shipped)],
        "days": form.get("days") or _USUAL_DAYS,
        "most_days": MOST_DAYS,
        "most_cases": MOST_CASES,
        "problem": problem,
        "result": result,
        "shown": [_shown(pages.texts(request), each) for each in result.views] if result is not None else [],
        "compared": _compared(pages.texts(request), result.views) if result is not None else [],
    }
    return pages.respond(request, "journey_simulation.html", values, 422 if problem else 200)


def _compared(texts: PageTexts, views: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    if len(views) != len(("one", "other")):
        return []
    rows = []
    for what, one, other in difference(dict(views[0]), dict(views[1])):
        kind, _, reason = what.partition(": ")
        label = _exit_words(texts, reason) if reason else texts(f"simulation_{kind}")
        rows.append((label, f"{one:,}", f"{other:,}"))
    return rows


def _exit_words(texts: PageTexts, reason: str) -> str:
    """Why journeys ended, or in which state they still are."""
    still, _, state = reason.partition(" ")
    if still == "still" and state:
        return texts("simulation_still", state=texts(f"journey_state_{state}"))
    return texts.maybe(f"journey_exit_{reason}", reason)


def _shown(texts: PageTexts, view: Mapping[str, Any]) -> dict[str, Any]:
    """A result as the page's tables have it: its calendar, its load, and each figure in words."""
    hours, by_day = view["contacts_by_hour"], view["contacts_by_day"]
    reasons: Counter[tuple[str, str, str]] = Counter()
    waits: dict[str, Counter[str]] = {}
    for each in view["not_sent"]:
        reasons[(each["verdict"], each["reason"], each["authority"].partition(":")[0])] += each["number"]
        waits.setdefault(each["date"], Counter())[each["reason"]] += each["number"]
    channels: Counter[str] = Counter()
    for each in by_day.values():
        channels.update(each)
    labels = [f"{hour:02d}" for hour in range(24)]
    load = columns(texts("simulation_load"), [PlotSeries("", [hours.get(each, 0) for each in labels])], labels)
    numbers = {day: sum(each.values()) for day, each in by_day.items()}
    return {
        "figures": view,
        "weeks": calendar(date.fromisoformat(view["start"][:10]), view["days"], numbers),
        "load": load,
        "reasons": [
            (
                texts.maybe(f"reason_{reason}", reason),
                texts.maybe(f"ops_verdict_{verdict}", verdict),
                texts.maybe(f"authority_{authority}", ""),
                f"{number:,}",
            )
            for (verdict, reason, authority), number in reasons.most_common()
        ],
        "steps": [
            (step, texts.maybe(f"step_result_{what}", what), f"{number:,}")
            for step, results in view["steps"].items()
            for what, number in results.items()
        ],
        "exits": [(_exit_words(texts, reason), f"{number:,}") for reason, number in view["exits"].items()],
        "channels": [
            (texts.maybe(f"channel_{each}", each), f"{channels[each]:,}", f"{cost:,.2f}")
            for each, cost in view["cost"]["by_channel"].items()
        ],
        "days": [
            (
                day,
                f"{numbers.get(day, 0):,}",
                _listed((texts.maybe(f"channel_{each}", each), n) for each, n in by_day.get(day, {}).items()),
                _listed((texts.maybe(f"reason_{each}", each), n) for each, n in waits.get(day, Counter()).items()),
            )
            for day in sorted({*by_day, *waits})
        ],
    }


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts)


def calendar(start: date, days: int, numbers: Mapping[str, int]) -> list[list[CalendarDay]]:
    """Weeks from Monday (ISO 8601) to Sunday that have the days of a simulation."""
    most = max(numbers.values(), default=0)
    first, last = start - timedelta(days=start.weekday()), start + timedelta(days=days - 1)
    weeks = []
    while first <= last:
        week = []
        for number in range(7):
            day = first + timedelta(days=number)
            found = numbers.get(day.isoformat(), 0)
            level = -(-found * _LEVELS // most) if most else 0
            week.append(CalendarDay(day, found, level, start <= day <= last))
        weeks.append(week)
        first += timedelta(days=7)
    return weeks
