"""How often the links of messages may change a borrower's record.

Each change is an event that is kept for years. Who has a link could switch a channel off and on without end; declining
is never limited, since it can be done once only until it is taken back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, func, select

from gateway.core.codec import ONE_CLICK, OWN_PAGE
from gateway.storage.tables.path import events

_MOST_CHANGES, _PER = 30, timedelta(hours=1)  # events of a borrower; our choice: some ten saved forms
_LOOKED_AT = 100  # of the borrower's latest events, which an index has in their order: there may be thousands


def too_many_changes(connection: Connection, tenant: str, borrower_id: str, now: datetime) -> bool:
    """Whether links have changed the borrower's record as often as they may in an hour."""
    mine = and_(events.c.tenant == tenant, events.c.borrower_id == borrower_id)
    latest = select(events.c.at, events.c.actor).where(mine).order_by(events.c.seq.desc()).limit(_LOOKED_AT).subquery()
    by_links = latest.c.actor.in_((OWN_PAGE, ONE_CLICK)), latest.c.at > now - _PER
    return bool(connection.execute(select(func.count()).where(*by_links)).scalar_one() >= _MOST_CHANGES)
