"""Decisions, dry: what would be decided about a request, and by which rules. Nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Reading
from gateway.api.http.openapi import body
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Uses
from gateway.api.http.problems import Problem, refused
from gateway.api.requests.decisions import DecisionIn
from gateway.api.responses.notifications import DecisionOut
from gateway.core.codec import verdict_view
from gateway.core.facts import Contact, Hold, OptOut
from gateway.core.requests import FieldError, RejectedRequest
from gateway.core.security.signing import Signer
from gateway.core.verdicts import Verdict
from gateway.dry_run import Forecaster
from gateway.policy import Packs

router = APIRouter(prefix="/v1/decisions", tags=["decisions"])


class _Digests:
    """The digests under which addresses are known, as a dependency of the request."""

    def __init__(self, configured: Uses[ConfiguredChannels], signer: Uses[Signer]) -> None:
        self._configured, self._signer = configured, signer

    def of(self, tenant: str, channel: str, address: str, at: str) -> str:
        """Raises Problem 422 with pointers below ``at``."""
        return self._signer.digest(tenant, channel, bodies.normal_address(self._configured, channel, address, at))


@router.post("", response_model=DecisionOut, openapi_extra=body(DecisionIn))
async def decide_notification(
    request: Request,
    who: Reading,
    forecaster: Uses[Forecaster],
    packs: Uses[Packs],
    digests: Annotated[_Digests, Depends()],
    clock: Uses[GatewayClock],
) -> Response:
    """The verdict on a request at an instant, with every rule behind it."""
    raw = await bodies.read_json(request)
    given = bodies.validated(DecisionIn, raw)
    verdict = await forecaster.decide(
        who.tenant,
        given.incoming("", raw),
        at=given.at,
        contacts=_contacts(digests, who.tenant, given),
        holds=_holds(given),
        opt_outs=_opt_outs(digests, who.tenant, given, clock()),
        pack_names=_known_packs(packs, given.packs),
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


def _known_packs(packs: Packs, names: Sequence[str]) -> Sequence[str]:
    known = packs.by_name
    remedy = f"there is no such policy pack; there are {', '.join(sorted(known))}"
    errors = [FieldError(f"/packs/{number}", remedy) for number, name in enumerate(names) if name not in known]
    if errors:
        raise Problem("invalid_request", errors=errors)
    return names


def _contacts(digests: _Digests, tenant: str, given: DecisionIn) -> Sequence[Contact] | None:
    if given.contacts is None:
        return None
    return [
        Contact(
            each.at,
            each.channel,
            each.case_id,
            digests.of(tenant, each.channel, each.address, f"/contacts/{number}"),
        )
        for number, each in enumerate(given.contacts)
    ]


def _holds(given: DecisionIn) -> Sequence[Hold] | None:
    if given.holds is None:
        return None
    return [Hold(each.kind, each.start, each.end, each.case_id) for each in given.holds]


def _opt_outs(digests: _Digests, tenant: str, given: DecisionIn, now: datetime) -> Sequence[OptOut] | None:
    if given.opt_outs is None:
        return None
    found = []
    for number, each in enumerate(given.opt_outs):
        digest = None
        if each.address is not None:
            digest = digests.of(tenant, each.channel or "", each.address, f"/opt_outs/{number}")
        found.append(OptOut(each.at or given.at or now, each.channel, digest, each.category))
    return found
