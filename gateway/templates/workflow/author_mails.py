"""Mails to a version's authors when somebody has approved it or sent it back, through a relay for people.

Each attempt is an event of the template's chain before the call, and its result one after it. An attempt without a
result (the process ended, the answer was lost) is not repeated: a second copy of such a mail is worse than none, since
the page says the same. Must not know how the relay is reached.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, select

from channels.base import Content, Message, Provider, SendFailure, TransientFailure
from gateway.core.clock import Clock
from gateway.core.notifications import Category, new_id
from gateway.core.states import TemplateState
from gateway.identity.users import User, Users
from gateway.storage.events import template_subject
from gateway.storage.tables.path import events
from gateway.templates.versions.stored_version import Change, StoredVersion
from gateway.templates.versions.versions_store import VersionStore

STARTED, ENDED = "template_mail_started", "template_mail_ended"
SENT, FAILED = "sent", "failed"
INTERVAL_SECONDS = 10.0  # our choice: people read mail later than that
_DECISIONS = {
    "template_approved": ("was approved", "已通过审批"),
    "template_rejected": ("was sent back", "被退回修改"),
}
_DECIDED = (TemplateState.APPROVED, TemplateState.SCHEDULED, TemplateState.PUBLISHED, TemplateState.REJECTED)
_LATELY = timedelta(days=1)  # our choice: an older decision has been seen on the page
_ATTEMPTS = 3  # of a mail that the relay refuses for now; our choice


class AlreadyTold(Exception):
    """Another process has begun this mail."""


@dataclass(frozen=True, slots=True)
class _Mail:
    """One decision that its authors are to be told of; ``earlier``: attempts that failed."""

    stored: StoredVersion
    decision: Change
    earlier: int

    @property
    def identity(self) -> str:
        return f"{self.decision.kind} {self.decision.at.isoformat()}"


class AuthorMails:
    """Sends the mails of all tenants. Safe with any number of processes."""

    def __init__(
        self, versions: VersionStore, users: Users, provider: Provider | None, public_url: str, clock: Clock
    ) -> None:
        """``provider``: the relay, of the e-mail channel; None: nobody is told by mail."""
        self._store = versions
        self._users = users
        self._provider = provider
        self._public_url = public_url
        self._clock = clock

    async def run_once(self) -> None:
        """Send what is due. Raises Unavailable."""
        if self._provider is None:
            return
        for stored in await self._store.changed_since(self._clock() - _LATELY, _DECIDED):
            history = await self._store.history(stored.tenant, stored.template, stored.number)
            for mail in _due(stored, history):
                await self._send(self._provider, mail)

    async def _send(self, provider: Provider, mail: _Mail) -> None:
        users = {each.actor: each for each in await self._users.list(mail.stored.tenant)}
        authors = dict.fromkeys((*mail.stored.editors, mail.stored.submitted_by))
        told = [users[each] for each in authors if each in users and users[each].disabled_at is None]
        told = [each for each in told if each.actor != mail.decision.actor]
        detail = {"decision": mail.identity, "attempt": mail.earlier + 1, "told": [each.id for each in told]}
        try:
            await self._store.note(mail.stored.key, STARTED, "gateway", detail, write=partial(_claim, mail))
        except AlreadyTold:
            return
        decider = users.get(mail.decision.actor)
        content = _content(mail, decider.name if decider else mail.decision.actor, self._link(mail.stored))
        now = self._clock()
        results = [await _hand_over(provider, mail.stored.tenant, each, content, now) for each in told]
        # Where one of several has it, it is not sent again: nobody gets two.
        outcome = SENT if SENT in results or not results else results[0]
        await self._store.note(mail.stored.key, ENDED, "gateway", {**detail, "outcome": outcome})

    def _link(self, stored: StoredVersion) -> str:
        return f"{self._public_url}/editor/templates/{stored.template}/{stored.number}"


def _due(stored: StoredVersion, history: Sequence[Change]) -> list[_Mail]:
    found = []
    for each in history:
        if each.kind not in _DECISIONS:
            continue
        mail = _Mail(stored, each, 0)
        started = [one for one in history if one.kind == STARTED and one.detail.get("decision") == mail.identity]
        ended = [one for one in history if one.kind == ENDED and one.detail.get("decision") == mail.identity]
        failed = sum(one.detail.get("outcome") == FAILED for one in ended)
        if len(started) == failed < _ATTEMPTS:  # every attempt has ended, and none has reached anybody
            found.append(_Mail(stored, each, failed))
    return found


def _claim(mail: _Mail, connection: Connection, now: datetime) -> None:
    """Raise AlreadyTold where this attempt has begun; the template is locked, so that one process succeeds."""
    same = events.c.subject == template_subject(mail.stored.tenant, mail.stored.template)
    query = select(events.c.detail).where(same, events.c.kind == STARTED)
    for detail in map(json.loads, connection.execute(query).scalars()):
        if (detail["decision"], detail["attempt"]) == (mail.identity, mail.earlier + 1):
            raise AlreadyTold


async def _hand_over(provider: Provider, tenant: str, user: User, content: Content, now: datetime) -> str:
    """``sent``, ``failed`` (may be tried again), or the provider's reason or the error's class, which is final."""
    identifier = new_id("eml", now)
    message = Message(
        delivery_id=identifier,
        attempt=1,
        tenant=tenant,
        borrower_id=user.actor,
        address=user.email,
        content=content,
        reference=identifier,
        callback_url="",  # what comes back is ignored
        valid_until=None,
        category=Category.SERVICE,
    )
    try:
        await provider.send(message)
    except TransientFailure:
        return FAILED
    except SendFailure as failure:
        return failure.reason
    except Exception as error:
        return type(error).__name__
    return SENT


def _content(mail: _Mail, decider: str, link: str) -> Content:
    """In both languages of the pages, since a user's is not known."""
    english, chinese = _DECISIONS[mail.decision.kind]
    what = f"{mail.stored.template}, version {mail.stored.number}"
    lines = [f"{what}, {english} by {decider}.", f"{what}：{decider}，{chinese}。"]
    if mail.decision.comment:
        lines.append(f"“{mail.decision.comment}”")
    return Content("\n\n".join([*lines, link]) + "\n", f"{what} {english} / {chinese}")
