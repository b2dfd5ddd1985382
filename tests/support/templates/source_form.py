"""Shipped templates with their e-mails as source, for tests of MJML."""

from __future__ import annotations

from dataclasses import replace

from gateway.templates.language.source import TemplateSource
from gateway.templates.language.version import jurisdiction_of, shared_texts
from gateway.templates.workflow.forms_of_mail import to_source
from tests.support.providers.channel_profiles import PROFILES


def in_source_form(source: TemplateSource, locale: str) -> TemplateSource:
    """The template with the e-mail of ``locale`` as MJML and plain text."""
    profile = PROFILES["email"]
    shared = shared_texts(source.fragments, locale)
    made = to_source(profile, source.parts, locale, shared.get(jurisdiction_of(locale.partition("-")[2]), shared[""]))
    kept = {
        name: text for name, text in source.parts.items() if name not in {f"{locale}/{file}" for file in profile.files}
    }
    return replace(source, parts={**kept, **{f"{locale}/{file}": text.rstrip("\n") for file, text in made.items()}})
