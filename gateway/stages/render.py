"""Render: the words of the message, by the pinned version of its template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from channels.base import Content
from gateway.core.deliveries import ClaimedDelivery, Delivery, Outgoing, Transition, unresolved
from gateway.core.errors import RenderFailed
from gateway.core.languages import in_language
from gateway.core.notifications import Category, Notification
from gateway.core.reasons import EndReason
from gateway.core.security.message_links import MessageLinks
from gateway.core.states import State


def render(
    claimed: Sequence[ClaimedDelivery],
    render_one: Callable[[Notification, str, MessageLinks], Content],
    links_of: Callable[[str, Category], MessageLinks],
    now: datetime,
) -> tuple[list[Outgoing], list[Transition]]:
    """Render each with ``render_one``; what can't be rendered ends here, and its route goes on."""
    outgoing: list[Outgoing] = []
    transitions: list[Transition] = []
    for each in claimed:
        try:
            links = links_of(each.delivery.id, each.notification.category)
            content = render_one(each.notification, each.delivery.channel, links)
        except RenderFailed as error:
            transitions.append(_not_rendered(each.delivery, error, now))
            continue
        outgoing.append(Outgoing(each, content))
    return outgoing, transitions


def in_chosen_language(claimed: Sequence[ClaimedDelivery]) -> list[ClaimedDelivery]:
    """Each with its notification in the language that the borrower chose since it was accepted, if any."""
    return [
        replace(each, notification=in_language(each.notification, each.borrower.facts.chosen.language))
        for each in claimed
    ]


def _not_rendered(delivery: Delivery, error: RenderFailed, now: datetime) -> Transition:
    if delivery.repeats_unknown_outcome:
        return unresolved(delivery, now)
    return Transition(
        delivery.id,
        "render_failed",
        now,
        to=State.FAILED,
        reason=EndReason.RENDER_FAILED,
        detail={"error": str(error)},
        next_step=True,
    )
