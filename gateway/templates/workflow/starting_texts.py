"""The first text of a template that is new: from another template's text, or from nothing.

Answers files as an editor sees them, which may still lack what the lint wants. Must not know who begins it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.templates.folder import SETTINGS
from gateway.templates.language.version import PARTS

# What a text is before anybody has written it: it compiles, and says who writes.
_BLANK: Mapping[str, str] = {
    "sms.liquid": "{{ lender.name }}: \n",
    "email.subject.liquid": "{{ lender.name }}\n",
    "email.txt.liquid": "{{ borrower.name }},\n\n\n\n{{ lender.name }}\n",
    "email.mjml.liquid": """\
<mjml lang="{{ locale }}">
<mj-head>
<mj-title>{{ lender.name }}</mj-title>
<mj-preview></mj-preview>
</mj-head>
<mj-body>
<mj-section>
<mj-column>
<mj-text>{{ borrower.name }},</mj-text>
<mj-text></mj-text>
<mj-text>{{ lender.name }}</mj-text>
</mj-column>
</mj-section>
</mj-body>
</mjml>
""",
    "inapp.title.liquid": "{{ lender.name }}\n",
    "inapp.txt.liquid": "\n",
}


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """What somebody wants to write: a title, a category of the policy, and at least one locale and one channel."""

    title: str
    category: str
    locales: Sequence[str]
    channels: Sequence[str]


def starting_files(plan: NewTemplate, source: Mapping[str, str] | None = None) -> dict[str, str]:
    """A new template's files. ``source``: the text to begin from, whose words are taken as far as they are wanted.

    A locale that the source lacks gets its default locale's words, to be translated; a channel that it lacks is blank.
    """
    words = source or {SETTINGS: "[variables]\n"}
    default = tomllib.loads(words[SETTINGS]).get("default_locale", "")
    settings = {
        "version": "1",
        "title": plan.title,
        **({} if source else {"description": plan.title}),
        "category": plan.category,
        "default_locale": default if default in plan.locales else plan.locales[0],
    }
    files = {SETTINGS: _with(words[SETTINGS], settings)}
    for locale in plan.locales:
        for part in (part for channel in plan.channels for part in PARTS[channel]):
            files[f"{locale}/{part}"] = words.get(f"{locale}/{part}") or words.get(f"{default}/{part}") or _BLANK[part]
        if (example := f"examples/{locale.lower()}.json") in words:
            files[example] = words[example]
    return files


def _with(settings: str, values: Mapping[str, str]) -> str:
    """The settings with these lines at their head; everything else, remarks too, stays as it is."""
    tables = re.search(r"^\[", settings, re.MULTILINE)
    head, rest = (settings[: tables.start()], settings[tables.start() :]) if tables else (settings, "")
    for name in values:
        head = re.sub(rf"^{name}\s*=.*\n?", "", head, flags=re.MULTILINE)
    # A JSON string without escapes for what isn't ASCII is a TOML string.
    lines = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())
    return lines + (head or "\n") + rest
