"""Render: the words of the message, by the pinned version of its template."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.core.model import EndReason, State
from gateway.core.ports import ClaimedDelivery, Outgoing, RenderFailed, Templates, Transition


def render(
    works: Sequence[ClaimedDelivery], templates: Templates, now: datetime
) -> tuple[list[Outgoing], list[Transition]]:
    """Render each; what can't be rendered ends here and its route goes on."""
    outgoing: list[Outgoing] = []
    moves: list[Transition] = []
    for work in works:
        try:
            content = templates.render(work.notification, work.delivery.channel)
        except RenderFailed as error:
            moves.append(
                Transition(
                    work.delivery.id,
                    "render_failed",
                    now,
                    to=State.FAILED,
                    reason=EndReason.RENDER_FAILED,
                    detail={"error": str(error)},
                    next_step=True,
                )
            )
            continue
        outgoing.append(Outgoing(work, content))
    return outgoing, moves
