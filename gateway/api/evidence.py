"""The evidence for one borrower, to be handed to a court or an authority."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.api.http.authentication import ReadingMessages
from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.fields import Identifier
from gateway.web.desk.evidence import EvidenceArchives

router = APIRouter(prefix="/v1/borrowers/{borrower_id}/evidence", tags=["evidence"])


class ZipResponse(Response):
    """A ZIP."""

    media_type = "application/zip"


# A name that has no personal data.
HEADERS = {"Content-Disposition": 'attachment; filename="evidence.zip"', "Cache-Control": "no-store"}


@router.get(
    "",
    response_class=ZipResponse,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def export_evidence(who: ReadingMessages, borrower_id: Identifier, archives: Uses[EvidenceArchives]) -> Response:
    """A ZIP: a page that is read offline, the events with their hash chains, the words, and a program to check it."""
    made = await archives.make(who.tenant, borrower_id)
    if made is None:
        raise Problem("not_found")
    return ZipResponse(made, headers=HEADERS)
