"""Reviews of template versions: what waits for whom, comments at a place in a message, and explained findings.

Comments and explanations are events of the template's chain, so that they stay with the version as evidence. Who may
approve is decided in versions_store.py; must not know roles.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.core.bounded.toml import read_toml
from gateway.core.states import TemplateState
from gateway.templates.checks.lint import LintFinding
from gateway.templates.language.source import SETTINGS
from gateway.templates.previews.preview import all_previews
from gateway.templates.repository import TemplateFiles, TemplateRepository, written
from gateway.templates.versions.refusals import BadComment, WrongState
from gateway.templates.versions.stored_version import Change, StoredVersion
from gateway.templates.versions.versions_store import VersionStore
from gateway.templates.workflow.glossaries import Glossaries

COMMENTED, EXPLAINED = "template_commented", "template_finding_explained"
REJECTED = "template_rejected"
_KEY_DIGITS = 16  # hex digits; our choice: enough to tell a version's findings apart
# While a version waits for a decision, or has been sent back.
COMMENTABLE = (TemplateState.SUBMITTED, TemplateState.APPROVED, TemplateState.SCHEDULED, TemplateState.REJECTED)


class Waits(StrEnum):
    """What a version waits for, as one person sees it."""

    APPROVE = "approve"  # it is submitted, and this person may approve it
    PUBLISH = "publish"  # it is approved
    REVISE = "revise"  # it was sent back, and this person wrote in it
    OTHERS = "others"  # this person wrote it, and somebody else has to approve it


@dataclass(frozen=True, slots=True)
class WaitingVersion:
    """``comment``: what was said at its last step, such as why it was sent back; ``comments``: those at places."""

    stored: StoredVersion
    title: str
    waits: Waits
    comment: str
    comments: int


@dataclass(frozen=True, slots=True)
class PlacedComment:
    """A comment on words of a message as borrowers read it; ``words`` "": on the whole message."""

    at: datetime
    actor: str
    number: int
    channel: str
    locale: str
    words: str
    comment: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a finding needs no change."""

    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReviewedFinding:
    """A finding with its key, and its explanation where there is one."""

    key: str
    finding: LintFinding
    explanation: Explanation | None


class TemplateReviews:
    """The reviews of all tenants. Methods may raise Unavailable."""

    def __init__(self, versions: VersionStore, repository: TemplateRepository, glossaries: Glossaries) -> None:
        self._glossaries = glossaries
        self._store = versions
        self._repository = repository

    async def waiting(self, tenant: str, actor: str) -> list[WaitingVersion]:
        """What waits for this person, the oldest first within each kind of step."""
        listed = await self._store.listed(tenant)
        newest: dict[str, int] = {}
        for each in listed:
            newest[each.template] = max(each.number, newest.get(each.template, 0))
        found = []
        for stored in listed:
            waits = _waits(stored, actor, stored.number == newest[stored.template])
            if waits is not None:
                found.append(await self._waiting(stored, waits))
        order = list(Waits)
        return sorted(found, key=lambda each: (order.index(each.waits), each.stored.updated_at))

    async def _waiting(self, stored: StoredVersion, waits: Waits) -> WaitingVersion:
        text = await self._store.text(stored.key)
        history = await self._store.history(stored.tenant, stored.template, stored.number)
        steps = [each for each in history if each.kind not in (COMMENTED, EXPLAINED)]
        return WaitingVersion(
            stored,
            _title(text.files) or stored.template,
            waits,
            steps[-1].comment if steps else "",
            sum(each.kind == COMMENTED for each in history),
        )

    # ── comments ──

    async def comment(
        self, tenant: str, template: str, number: int, actor: str, place: tuple[str, str, str], comment: str
    ) -> StoredVersion:
        """Comment on ``place``: channel, locale and words of the message there. Raises BadComment, WrongState."""
        channel, locale, words = place[0], place[1], " ".join(place[2].split())
        text = written(await self._store.text((tenant, template, number)))
        assert text.stored is not None
        if text.stored.state not in COMMENTABLE:
            raise WrongState(f"version {number} is {text.stored.state}: comments are for what is submitted")
        if not comment.strip():
            raise BadComment("comment", "say what you mean")
        shown = await asyncio.to_thread(self._words, text, channel, locale)
        if shown is None:
            raise BadComment("channel", f"version {number} has no message on {channel} in {locale}")
        if words not in shown:
            raise BadComment("words", "they don't stand in that message; copy them from it, or leave them out")
        detail = {"channel": channel, "locale": locale, "words": words}
        await self._store.note((tenant, template, number), COMMENTED, actor, detail, comment.strip())
        return text.stored

    def _words(self, text: TemplateFiles, channel: str, locale: str) -> str | None:
        """The message's words, with single spaces; None where there is no such message."""
        shown = all_previews(self._repository.compiled(text))
        for each in shown:
            if (each.channel, each.locale) == (channel, locale) and each.content is not None:
                return " ".join(f"{each.content.subject} {each.content.text}".split())
        return None

    async def comments(self, stored: StoredVersion) -> list[PlacedComment]:
        """The comments on a version; of a draft, those on the version before it, where that was sent back."""
        history = await self._store.history(stored.tenant, stored.template)
        number = stored.number
        if stored.state is TemplateState.DRAFT:
            sent_back = [each.number for each in history if each.kind == REJECTED and each.number < number]
            number = sent_back[-1] if sent_back and sent_back[-1] == number - 1 else number
        return [_comment(each) for each in history if each.kind == COMMENTED and each.number == number]

    async def sent_back(self, stored: StoredVersion) -> Change | None:
        """The decision that sent a version back; None where there was none."""
        history = await self._store.history(stored.tenant, stored.template, stored.number)
        return next((each for each in reversed(history) if each.kind == REJECTED), None)

    # ── findings ──

    async def findings(self, text: TemplateFiles) -> list[ReviewedFinding]:
        """The findings of a version, those of the glossary last, each with its explanation."""
        found = await asyncio.to_thread(self._repository.findings, text)
        tenant = text.stored.tenant if text.stored else ""
        found += await self._glossaries.findings(tenant, text.template, text.files)
        explained = await self.explained(tenant, text.template) if text.stored else {}
        keys = [(finding_key(each, text.files), each) for each in found]
        return [ReviewedFinding(key, each, explained.get(key)) for key, each in keys]

    async def explained(self, tenant: str, template: str) -> dict[str, Explanation]:
        """The explanations of a template's findings, by their keys; a newer one replaces an older one."""
        history = await self._store.history(tenant, template)
        return {
            str(each.detail["finding"]): Explanation(each.at, each.actor, each.comment)
            for each in history
            if each.kind == EXPLAINED
        }

    async def explain(
        self, tenant: str, template: str, number: int, actor: str, key: str, reason: str
    ) -> StoredVersion:
        """Record why a draft's finding needs no change. Raises BadComment: an error can't be explained away."""
        text = written(await self._store.text((tenant, template, number)))
        assert text.stored is not None
        if text.stored.state is not TemplateState.DRAFT:
            raise WrongState(f"version {number} is {text.stored.state}: findings are explained in the draft")
        found = next((each.finding for each in await self.findings(text) if each.key == key), None)
        if found is None:
            raise BadComment("finding", "the draft has no such finding; read its findings again")
        if found.level == "error":
            raise BadComment("finding", "an error can't be explained away: fix it")
        if not reason.strip():
            raise BadComment("comment", "say why it needs no change")
        detail = {"finding": key, "rule": found.rule, "where": found.where, "level": found.level}
        await self._store.note((tenant, template, number), EXPLAINED, actor, detail, reason.strip())
        return text.stored


def finding_key(finding: LintFinding, files: Mapping[str, str]) -> str:
    """A finding's identity in a template: its rule, and the text that it is about.

    That is the line, wherever it stands in its part, or the whole part: a changed text has another finding, which
    nobody has explained.
    """
    part = finding.where.partition("/")[2]
    lines = files.get(part, "").split("\n")
    about = lines[finding.line - 1] if 0 < finding.line <= len(lines) else files.get(part, "")
    identity = json.dumps([finding.rule, part, finding.detail, finding.column if finding.line else 0, about])
    return hashlib.sha256(identity.encode()).hexdigest()[:_KEY_DIGITS]


def _waits(stored: StoredVersion, actor: str, is_newest: bool) -> Waits | None:
    own = actor in (*stored.editors, stored.submitted_by)
    if stored.state is TemplateState.SUBMITTED:
        return Waits.OTHERS if own else Waits.APPROVE
    if stored.state is TemplateState.APPROVED:
        return Waits.PUBLISH
    # A newer version is the answer to what was sent back.
    return Waits.REVISE if stored.state is TemplateState.REJECTED and own and is_newest else None


def _title(files: Mapping[str, str]) -> str:
    try:
        return str(read_toml(files.get(SETTINGS, "")).get("title", ""))
    except tomllib.TOMLDecodeError:  # of a draft; what is submitted compiles
        return ""


def _comment(change: Change) -> PlacedComment:
    place = {name: str(change.detail.get(name, "")) for name in ("channel", "locale", "words")}
    return PlacedComment(change.at, change.actor, change.number, comment=change.comment, **place)


def open_findings(found: Sequence[ReviewedFinding]) -> list[ReviewedFinding]:
    """Those that want a second look: all but hints that nobody has explained."""
    return [each for each in found if each.finding.level != "hint" or each.explanation]
