"""Notifications as the pages below ``/ops`` show them: ids, states and reasons, without what a borrower was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gateway.web.translations import PageTexts


def instants(t: PageTexts, rows: Iterable[Mapping[str, Any]], *names: str) -> list[dict[str, Any]]:
    """The rows with these instants, which are RFC 3339 texts or None, as a reader reads them."""
    return [{**each, **{name: when(t, each[name]) for name in names}} for each in rows]


def when(t: PageTexts, instant: str | None) -> str:
    """An instant of an answer, in UTC for display; "" for None."""
    return t.when(datetime.fromisoformat(instant)) if instant else ""


def notification_view(t: PageTexts, found: Mapping[str, Any]) -> dict[str, Any]:
    """One notification with its deliveries, attempts and events."""
    deliveries = [
        {**each, "attempts": instants(t, each["attempts"], "started_at", "finished_at")} for each in found["deliveries"]
    ]
    events = [{**each, "at": when(t, each["at"]), "note": _note(each["detail"])} for each in found["events"]]
    return {**found, "accepted_at": when(t, found["accepted_at"]), "deliveries": deliveries, "events": events}


def _note(detail: Mapping[str, Any]) -> str:
    """A person's reason for what they did."""
    return str(detail.get("why", ""))
