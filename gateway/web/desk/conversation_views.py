"""What the pages of conversations show, in the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gateway.conversations.conversation import Conversation
from gateway.web.desk.sentences import reason_text
from gateway.web.translations import PageTexts

_BY = ("borrower", "assistant")  # actors that have a text; others are people or keys


def queue_view(
    t: PageTexts, found: Sequence[Conversation], who: Callable[[str], str], now: datetime
) -> list[dict[str, Any]]:
    """The queue's items. They wait at the lender, so their times are in UTC."""
    return [talk_view(t, each, who, now) for each in found]


def talk_view(t: PageTexts, found: Conversation, who: Callable[[str], str], now: datetime) -> dict[str, Any]:
    """The head of a conversation."""
    holder = found.held_by(now)
    return {
        "id": found.id,
        "path": f"/desk/conversations/{found.id}",
        "borrower_id": found.borrower_id,
        "borrower_path": f"/desk/borrowers/{quote(found.borrower_id, safe='')}",
        "case_id": found.case_id,
        "state": found.state,
        "what": t.maybe(f"intent_{found.intent}", found.intent),
        "channel": t.channel(found.channel),
        "urgency": found.urgency.name.lower(),
        "since": t.when(found.replied_at),
        "by": t.when(found.review_by),
        "holder": who(holder) if holder else "",
        "revision": found.revision,
        "verified": found.verified(now),
        "outcome": t.maybe(f"talk_outcome_{found.outcome}", ""),
    }


def entries_view(t: PageTexts, entries: Sequence[Mapping[str, Any]], who: Callable[[str], str]) -> list[dict[str, Any]]:
    """Everything that was said and done, the oldest first."""
    return [
        {
            **each,
            "who": t(f"talk_by_{each['by']}") if each["by"] in _BY else who(each["by"]),
            "did": t.maybe(f"talk_did_{each['kind']}", each["kind"].replace("_", " ")),
            "when": t.when(datetime.fromisoformat(each["at"])),
            "channel": t.channel(each["channel"]) if each["channel"] else "",
            "why": t.maybe(f"talk_why_{each['reason']}", reason_text(t, each["reason"])) if each["reason"] else "",
            "meant": ", ".join(t.maybe(f"intent_{one}", one) for one in each["intents"]),
            "came_to": t.maybe(f"talk_state_{each['state']}", each["state"]) if each["state"] else "",
        }
        for each in entries
    ]
