"""A template in each state for one lender, and the pages that show it, for the sweep over all pages."""

from __future__ import annotations

import asyncio

from gateway.core.controls import SwitchKind, SwitchScope
from gateway.journeys.cases.record import CaseRecord
from tests.support.journeys.cases import FOLDER, snapshot
from tests.support.pages.editor_office import TEMPLATE, EditorOffice

_DEMAND = """
[variables.reference]
type = "text"
example = "A-77"
description = "what the lender's letters call the account"
"""


async def stage(office: EditorOffice) -> dict[str, str]:
    """A template in each state, and the pages to look at."""
    gateway, tenant = office.running.gateway, office.tenant
    editing = gateway.editor.workflow
    users = {each.name.split()[0]: each.actor for each in await gateway.ledger.users.list(tenant)}
    mei, tom = users["Mei"], users["Tom"]

    async def submitted(template: str, words: str, settings: str = "") -> int:
        draft = await editing.begin(tenant, template, mei, "")
        files = {**draft.files, "en-US/sms.liquid": draft.files["en-US/sms.liquid"].rstrip("\n") + words}
        files["template.toml"] += settings
        await editing.save(tenant, template, draft.number, 1, files, mei, "")
        await editing.submit(tenant, template, draft.number, 2, mei, "A shorter, warmer text.")
        return draft.number

    first = await submitted("overdue-first", " Thank you.")
    await editing.approve(tenant, "overdue-first", first, tom, "Well said.")
    await editing.publish(tenant, "overdue-first", first, tom, "", confirmed=True)
    await editing.begin(tenant, "overdue-first", mei, "")
    await submitted("overdue-follow-up", " Thanks.")
    for template, added in (("final-notice", ""), ("plan-offer", _DEMAND)):
        number = await submitted(template, " Thanks.", added)
        await editing.approve(tenant, template, number, tom, "")
    await office.sent_version()  # so that the status page has something to show
    kind, scope = SwitchKind.PAUSE, SwitchScope.TEMPLATE
    await gateway.path.controls.set(kind, scope, "wrong-contact", tenant, "a wrong number in it", tom, None)
    return {
        "list": "/editor",
        "template": TEMPLATE,
        "live": f"{TEMPLATE}/1",
        "submitted": "/editor/templates/overdue-follow-up/1",
        "waiting": "/editor/waiting",
        "glossary": "/editor/glossary",
        "results": f"{TEMPLATE}/1/results",
        "translations": "/editor/templates/overdue-follow-up/1/translations?locale=zh-TW",
        "changes": "/editor/templates/overdue-follow-up/1/changes",
        "approved": "/editor/templates/final-notice/1",
        "demanding": "/editor/templates/plan-offer/1",
        "ops": "/ops",
        **await _journey(office),
    }


async def _journey(office: EditorOffice) -> dict[str, str]:
    """The pages of a journey that one case has entered; the gateway's own worker runs it."""
    services, tenant = office.running.gateway.journeys, office.tenant
    made = await services.definitions.save(tenant, (FOLDER / "card-overdue.toml").read_text("utf-8"), "user:ann")
    await services.definitions.submit(tenant, made["name"], made["number"], "user:ann")
    await services.definitions.approve(tenant, made["name"], made["number"], "user:bob")
    await services.definitions.publish(tenant, made["name"], made["number"], "user:bob")
    await services.cases.feed(tenant, [CaseRecord("C-900", snapshot())], "key:1")

    async def entered() -> str:
        found = await services.reads.listed(tenant, case_id="C-900", limit=1)
        return str(found[0]["id"]) if found else ""

    async with asyncio.timeout(60):
        while not (journey_id := await entered()):  # noqa: ASYNC110 – the gateway's worker does it
            await asyncio.sleep(0.05)
    return {
        "journeys": "/journeys",
        "journey": "/journeys/card-overdue",
        "course": f"/journeys/course/{journey_id}",
    }
