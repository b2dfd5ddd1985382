"""The template of WhatsApp by which messages of the chaos run go, approved before they do."""

from __future__ import annotations

import aiohttp

from channels.whatsapp.simulator import SimulatedTemplate
from tests.chaos.harness.outside import TEMPLATE, FaultyWhatsApp

_PLACE = "/v1/templates/due-soon/versions/0/provider-templates/meta/en-US"


async def approve_template(url: str, key: str, whatsapp: FaultyWhatsApp) -> None:
    """Enter what our text proposes, give it to the provider, and record that it was approved."""
    name, language = TEMPLATE
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, headers=headers, raise_for_status=True) as http:
        async with http.put(_PLACE, json={"reference": name, "language": language}) as answer:
            text = (await answer.json())["text"]
        whatsapp.templates[TEMPLATE] = SimulatedTemplate(text, language)
        for status in ("submitted", "approved"):
            async with http.post(f"{_PLACE}/report", json={"status": status}):
                pass
