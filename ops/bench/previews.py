"""The editor's live preview: what somebody who types waits for, from the request to the last byte of the answer."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
from measuring import Measurement, of_rates, percentiles
from shape import TENANT, Shape, processes_cpu, shape

from gateway.identity.users import Role, Users
from gateway.templates.folder import Folder

_TEMPLATES = Path(__file__).parents[2] / "templates"
_EMAIL, _PASSWORD = "editor@example.com", "correct horse battery staple"
_PART = "sms.liquid"


class _Form(HTMLParser):
    """The fields of a page's forms, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._writing = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("name"):
            self.fields.setdefault(given["name"], given.get("value", ""))
        self._writing = given.get("name", "") if tag == "textarea" else ""
        if self._writing:
            self.fields[self._writing] = ""

    def handle_endtag(self, tag: str) -> None:
        if self._writing:  # a line end right behind the tag is no part of the text
            self.fields[self._writing] = self.fields[self._writing].removeprefix("\n")
        self._writing = ""

    def handle_data(self, data: str) -> None:
        if self._writing:
            self.fields[self._writing] += data


def measure_previews(database_url: str, keystrokes: int) -> dict[str, Measurement]:
    """Keystrokes in the largest shipped template, in each of its locales, every channel shown at each."""
    with shape(database_url) as ours:
        ours.start_api()
        return {"preview": asyncio.run(_typed(ours, keystrokes))}


async def _typed(ours: Shape, keystrokes: int) -> Measurement:
    database = ours.database()
    await Users(database).add(TENANT, "Editor", _EMAIL, Role.EDITOR, _PASSWORD, datetime.now(UTC))
    await database.close()
    templates = Folder.read(_TEMPLATES).templates
    largest = max(templates, key=lambda each: sum(map(len, templates[each].values())))
    locales = sorted({name.partition("/")[0] for name in templates[largest] if name.endswith(_PART)})
    jar = aiohttp.CookieJar(unsafe=True)  # loopback is an address, not a name
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ours.port}", cookie_jar=jar) as http:
        form = await _begin(http, largest)
        # The first in each locale compiles what the next ones find compiled: nobody has typed yet.
        for locale in locales:
            await _preview(http, largest, {**form, "locale": locale})
        waits, before = [], processes_cpu(ours.apis)
        for number in range(keystrokes):
            locale = locales[number % len(locales)]
            words = form[f"f.{locale}/{_PART}"] + "x" * (number + 1)
            waits.append(await _preview(http, largest, {**form, "locale": locale, f"f.{locale}/{_PART}": words}))
        used = processes_cpu(ours.apis) - before
    latency = {name: each * 1000 for name, each in percentiles(waits).items()}
    return of_rates([1 / each for each in waits], latency, 1000 * used / keystrokes)


async def _begin(http: aiohttp.ClientSession, template: str) -> dict[str, str]:
    """Sign in, begin a draft, and answer the fields of its page."""
    form = {**_Form(await _get(http, "/editor/sign-in")).fields, "email": _EMAIL, "password": _PASSWORD}
    await _post(http, "/editor/sign-in", form)
    await _post(http, f"/editor/templates/{template}/begin", _Form(await _get(http, "/editor")).fields)
    return _Form(await _get(http, f"/editor/templates/{template}/1")).fields


async def _preview(http: aiohttp.ClientSession, template: str, form: dict[str, str]) -> float:
    began = time.perf_counter()
    answer = await _post(http, f"/editor/templates/{template}/1/preview", form, {"HX-Request": "true"})
    waited = time.perf_counter() - began
    if 'class="phone"' not in answer or 'class="inbox-line"' not in answer or 'class="app-card"' not in answer:
        raise RuntimeError(f"a channel is not shown: {answer[:500]}")
    return waited


async def _get(http: aiohttp.ClientSession, path: str) -> str:
    async with http.get(path) as response:
        response.raise_for_status()
        return await response.text()


async def _post(
    http: aiohttp.ClientSession, path: str, form: dict[str, str], headers: dict[str, str] | None = None
) -> str:
    async with http.post(path, data=form, headers=headers) as response:
        response.raise_for_status()
        return await response.text()
