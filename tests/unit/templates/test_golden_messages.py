"""Golden files of every built-in message, rendered with its examples.

After an intended change: ``REWRITE_GOLDEN=1 pytest tests/unit/templates/test_golden_messages.py``; read the diff.
"""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path

import pytest

from gateway.templates import TemplateVersion, segments
from gateway.templates.previews.preview import rendered
from gateway.templates.previews.samples import KINDS, samples
from gateway.templates.rendering.mail import preview
from tests.support.templates.template_services import started_again

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
CATALOG = started_again()
LOCALES = ("en-GB", "en-US", "zh-CN", "zh-TW")
JURISDICTIONS = ("us", "uk", "cn", "tw", "in")
MESSAGES = [(version, locale) for version in CATALOG.live() for locale in LOCALES]
THE_SET = {
    "due-soon": "service",
    "overdue-first": "collections",
    "overdue-follow-up": "collections",
    "final-notice": "collections",
    "plan-offer": "collections",
    "plan-confirmed": "service",
    "payment-received": "service",
    "wrong-contact": "service",
    "conversation-answer": "service",
    "reply-received": "service",
    "reply-plan": "service",
    "reply-identify": "service",
    "reply-identify-code": "service",
    "reply-confirm-promise": "service",
    "reply-confirm-paid": "service",
    "reply-confirm-plan": "service",
    "reply-confirm-address": "service",
    "reply-noted": "service",
    "reply-undone": "service",
}


def _named(value: object) -> str:
    return value.id if isinstance(value, TemplateVersion) else str(value)


def _examples(version: TemplateVersion) -> dict[str, str]:
    folder = ROOT / "templates" / version.id
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in (folder / "examples").glob("*.json")}


def _readable(html: str) -> str:
    """A mail's HTML as a reader sees it, links with their addresses."""
    body = re.sub(r"<!--.*?-->", "", html[html.index("<body") :], flags=re.DOTALL)
    linked = re.sub(r"<a\b[^>]*href=\"([^\"]*)\"[^>]*>(.*?)</a>", r"[\2](\1)", body, flags=re.DOTALL)
    lines = re.sub(r"<[^>]*>", "\n", linked.replace("<br>", "\n")).splitlines()
    return "\n".join(unescape(each.strip()) for each in lines[1:] if each.strip())


def _shown(version: TemplateVersion, locale: str) -> str:
    texts = []
    made = samples(version, locale, _examples(version))
    for name in ("required_only", "everything"):
        sample = made[name]
        assert version.check(sample.variables) == []
        sms, email, inapp = (rendered(version, channel, sample) for channel in ("sms", "email", "inapp"))
        counted = segments(sms.text)
        texts += [f"== {name} ==", f"-- SMS: {counted.segments} × {counted.encoding}", sms.text]
        texts += [f"-- e-mail: {email.subject} | {preview(email.html)}", email.text]
        texts += ["-- the same, laid out", _readable(email.html)]
        texts += [f"-- in the app: {inapp.subject}", inapp.text]
        for channel in sorted(set(version.channels) - {"sms", "email", "inapp"}):
            texts += [f"-- {channel}", rendered(version, channel, sample).text]
        texts.append("")
    return "\n".join(texts)


@pytest.mark.parametrize(("version", "locale"), MESSAGES, ids=_named)
def test_every_message_is_as_it_was_read(version: TemplateVersion, locale: str) -> None:
    """With all variables and with the required ones only, on every channel, word for word."""
    path, shown = GOLDEN / f"{version.id}.{locale}.txt", _shown(version, locale)
    if os.environ.get("REWRITE_GOLDEN"):
        path.write_text(shown, "utf-8")
    assert shown == path.read_text("utf-8"), "if this is meant, see the top of this file"


def test_the_html_of_one_mail_is_as_it_was_seen() -> None:
    """The whole of one mail's HTML, so that another version of the layout's compiler doesn't pass unseen."""
    version = CATALOG.live()[[each.id for each in CATALOG.live()].index("overdue-first")]
    sample = samples(version, "en-US", _examples(version))["everything"]
    html = rendered(version, "email", sample).html
    path = GOLDEN / "overdue-first.en-US.html"
    if os.environ.get("REWRITE_GOLDEN"):
        path.write_text(html, "utf-8")
    assert html == path.read_text("utf-8"), "if this is meant, see the top of this file"


def test_the_set_is_whole() -> None:
    """Every occasion has its message, in four locales on three channels, in the right category; service on more."""
    assert {each.id: each.category for each in CATALOG.live()} == THE_SET
    for version in CATALOG.live():
        assert tuple(version.locales) == LOCALES
        # WhatsApp and LINE carry service messages alone.
        more = {"line", "whatsapp"} if version.category == "service" else set()
        assert set(version.channels) >= {"email", "inapp", "sms", *more}
        assert set(_examples(version)) == {f"examples/{locale.lower()}.json" for locale in LOCALES}


@pytest.mark.parametrize(("version", "locale"), MESSAGES, ids=_named)
def test_every_message_stands_every_sample_everywhere(version: TemplateVersion, locale: str) -> None:
    """Long names, big amounts, other scripts, any jurisdiction: it renders, without braces, at a bearable price."""
    for name in KINDS:
        sample = samples(version, locale, _examples(version))[name]
        assert version.check(sample.variables) == []
        for jurisdiction in JURISDICTIONS:
            for channel in version.channels:
                content = version.render(channel, locale, sample.variables, sample.name, jurisdiction)
                assert content.text
                assert not re.search(r"[{}]", content.text + content.subject)
                if channel == "sms":
                    assert segments(content.text).segments <= (4 if name == "longest" else 3)
                    assert name != "required_only" or jurisdiction == "us" or segments(content.text).segments <= 2


def test_no_mail_brings_anything_from_elsewhere() -> None:
    """No image, font, style or script is fetched when a mail is read: nobody learns when and where it was."""
    for version, locale in MESSAGES:
        sample = samples(version, locale)["everything"]
        html = version.render("email", locale, sample.variables, sample.name).html
        assert not re.search(r"<script|<img|<link|@import|url\(|\son\w+=", html, re.IGNORECASE)


@pytest.mark.parametrize(
    ("locale", "jurisdiction", "wanted"),
    [
        ("en-GB", "uk", "MoneyHelper"),
        ("en-GB", "gb", "MoneyHelper"),
        ("zh-TW", "uk", "MoneyHelper"),
        ("en-GB", "", "MoneyHelper"),
        ("en-US", "us", "nfcc.org"),
        ("zh-CN", "us-fl", "回复 STOP"),
        ("zh-TW", "us", "回覆 STOP"),
        ("zh-CN", "cn", "12378"),
        ("zh-TW", "tw", "laf.org.tw"),
    ],
)
def test_shared_texts_follow_the_law_and_the_language(locale: str, jurisdiction: str, wanted: str) -> None:
    """Who lives in the UK and reads Chinese is told in Chinese where free debt advice is in the UK."""
    version = next(each for each in CATALOG.live() if each.id == "overdue-first")
    variables = samples(version, locale)["everything"].variables
    assert wanted in version.render("email", locale, variables, "A", jurisdiction).text


@pytest.mark.parametrize("jurisdiction", ["in", "us", "tw"])
def test_help_of_one_country_is_not_named_in_another(jurisdiction: str) -> None:
    """British English elsewhere doesn't send people to a British service."""
    version = next(each for each in CATALOG.live() if each.id == "overdue-first")
    variables = samples(version, "en-GB")["everything"].variables
    assert "MoneyHelper" not in version.render("email", "en-GB", variables, "A", jurisdiction).text
