"""Decisions, dry: what would be decided about a request, and by which rules. Nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Caller, needs
from gateway.api.http.context import gateway_of
from gateway.api.http.openapi import body
from gateway.api.http.problems import Problem, refused
from gateway.api.schemas import DecisionIn
from gateway.core.codec import verdict_view
from gateway.core.facts import Contact, Hold, OptOut
from gateway.core.requests import FieldError, RejectedRequest
from gateway.core.verdicts import Verdict
from gateway.identity.keys import Scope

if TYPE_CHECKING:
    from gateway.app.app import Gateway

router = APIRouter(prefix="/v1/decisions", tags=["decisions"])


@router.post("", openapi_extra=body(DecisionIn))
async def decide(request: Request, who: Annotated[Caller, Depends(needs(Scope.READ))]) -> Response:
    """The verdict on a request at an instant, with every rule behind it."""
    gateway = gateway_of(request)
    raw = await bodies.read_json(request)
    given = bodies.validated(DecisionIn, raw)
    verdict = await gateway.forecaster.decide(
        who.tenant,
        given.incoming("", raw),
        at=given.at,
        contacts=_contacts(gateway, who.tenant, given),
        holds=_holds(given),
        opt_outs=_opt_outs(gateway, who.tenant, given),
        pack_names=_known_packs(gateway, given.packs),
    )
    if isinstance(verdict, RejectedRequest):
        raise refused(verdict)
    return bodies.answer(_answer(verdict))


def _answer(verdict: Verdict) -> dict[str, Any]:
    """The verdict as promised: what only the record of a real decision has is left out."""
    view = verdict_view(verdict)
    del view["valid_until"]
    for rule in view["rules"]:
        del rule["detail"]
    return view


def _known_packs(gateway: Gateway, names: Sequence[str]) -> Sequence[str]:
    known = gateway.packs.by_name
    remedy = f"there is no such policy pack; there are {', '.join(sorted(known))}"
    errors = [FieldError(f"/packs/{number}", remedy) for number, name in enumerate(names) if name not in known]
    if errors:
        raise Problem("invalid_request", errors=errors)
    return names


def _digest(gateway: Gateway, tenant: str, channel: str, address: str, place: str) -> str:
    if channel not in gateway.channels:
        raise Problem("invalid_request", errors=[FieldError(f"{place}/channel", "there is no such channel")])
    try:
        normal = gateway.channels[channel].normalise(address)
    except ValueError as error:
        raise Problem("invalid_request", errors=[FieldError(f"{place}/address", str(error))]) from None
    return gateway.signer.digest(tenant, channel, normal)


def _contacts(gateway: Gateway, tenant: str, given: DecisionIn) -> Sequence[Contact] | None:
    if given.contacts is None:
        return None
    return [
        Contact(each.at, each.channel, each.case_id, _digest(gateway, tenant, each.channel, each.address, place))
        for number, each in enumerate(given.contacts)
        for place in (f"/contacts/{number}",)
    ]


def _holds(given: DecisionIn) -> Sequence[Hold] | None:
    if given.holds is None:
        return None
    return [Hold(each.kind, each.start, each.end, each.case_id) for each in given.holds]


def _opt_outs(gateway: Gateway, tenant: str, given: DecisionIn) -> Sequence[OptOut] | None:
    if given.opt_outs is None:
        return None
    found = []
    for number, each in enumerate(given.opt_outs):
        digest, place = None, f"/opt_outs/{number}"
        if each.address is not None:
            digest = _digest(gateway, tenant, each.channel or "", each.address, place)
        found.append(OptOut(each.at or given.at or gateway.clock(), each.channel, digest, each.category))
    return found
