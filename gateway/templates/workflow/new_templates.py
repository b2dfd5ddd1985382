"""Creates templates: a draft for a purpose, from another template's text, or blank. Must not know permissions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from gateway.core.notifications import Category
from gateway.templates.folder import check
from gateway.templates.language.source import SETTINGS, BadTemplate
from gateway.templates.purposes import Purpose
from gateway.templates.repository import TemplateFiles
from gateway.templates.versions.refusals import BadPlan, DraftExists, TemplateExists
from gateway.templates.workflow.starting_texts import NewTemplate, starting_files
from gateway.templates.workflow.workflow import TemplateWorkflow

LONGEST_TITLE = 80  # characters, as templates/schema.json
_LONGEST_ID = 64  # characters, as gateway/templates/folder.py
_LOCALE = re.compile(r"[a-z]{2,3}-[A-Z]{2}")  # as gateway/templates/folder.py
_MOST_LOCALES = 30  # our choice, as gateway/templates/folder.py


@dataclass(frozen=True, slots=True)
class NewTemplateRequest:
    """What a writer asks for.

    ``template`` "": an id is made from the title. ``purpose``: its text is the beginning, and its category the
    template's. Without a purpose, ``source`` is the template to copy ("": none), and ``category`` has to be given.
    """

    title: str
    purpose: str = ""
    template: str = ""
    locales: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    category: str = ""
    source: str = ""
    comment: str = field(default="")


class NewTemplates:
    """Creates the templates of a tenant, with the purposes that the folder of templates has."""

    def __init__(self, workflow: TemplateWorkflow, purposes: Mapping[str, Purpose]) -> None:
        self.purposes = purposes
        self._workflow = workflow

    async def create(self, tenant: str, actor: str, asked: NewTemplateRequest) -> TemplateFiles:
        """Store the first draft. Raises BadPlan, TemplateExists, Unavailable."""
        plan = self._plan(asked)
        purpose = self.purposes.get(asked.purpose)
        taken = {each.template for each in await self._workflow.summaries(tenant)}
        template = asked.template or _free_id(plan.title, asked.purpose, taken)
        _check_id(template)
        if template in taken:
            raise TemplateExists(f"{template} exists: choose another id, or begin a draft of that template")
        files = starting_files(plan, self._workflow.profiles, await self._source(tenant, asked, purpose))
        try:
            return await self._workflow.begin(tenant, template, actor, asked.comment, files)
        except DraftExists:  # somebody else has created it at the same time
            raise TemplateExists(f"{template} exists: choose another id") from None

    async def _source(
        self, tenant: str, asked: NewTemplateRequest, purpose: Purpose | None
    ) -> Mapping[str, str] | None:
        if purpose is not None:
            return purpose.files
        live = await self._workflow.live(tenant, asked.source) if asked.source else None
        return live.files if live else None

    def _plan(self, asked: NewTemplateRequest) -> NewTemplate:
        title, purpose = " ".join(asked.title.split()), self.purposes.get(asked.purpose)
        if not title or len(title) > LONGEST_TITLE:
            raise BadPlan("title", f"give one of at most {LONGEST_TITLE} characters")
        if asked.purpose and purpose is None:
            raise BadPlan("purpose", f"choose one of {', '.join(self.purposes)}")
        category = purpose.category if purpose else asked.category
        if category not in set(Category):
            raise BadPlan("purpose", f"choose one, or give a category: {', '.join(Category)}")
        if not 0 < len(asked.locales) <= _MOST_LOCALES or not all(map(_LOCALE.fullmatch, asked.locales)):
            raise BadPlan("locales", f"give one to {_MOST_LOCALES}, written like en-GB")
        unknown = [each for each in asked.channels if each not in self._workflow.profiles]
        if not asked.channels or unknown:
            raise BadPlan("channels", f"choose among {', '.join(self._workflow.profiles)}")
        return NewTemplate(title, category, tuple(dict.fromkeys(asked.locales)), tuple(dict.fromkeys(asked.channels)))


def _check_id(template: str) -> None:
    try:
        check(template, {SETTINGS: ""})
    except BadTemplate as error:
        raise BadPlan("template", f"{error.problems[0].detail}") from None


def _free_id(title: str, purpose: str, taken: Collection[str]) -> str:
    """An id from the title's Latin letters, or from the purpose; with a number where it is taken."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    made = (words if re.match("[a-z]", words) and title.isascii() else purpose or "template")[: _LONGEST_ID - 6]
    made = made.rstrip("-")
    if made not in taken:
        return made
    return next(each for number in range(2, len(taken) + 3) if (each := f"{made}-{number}") not in taken)
