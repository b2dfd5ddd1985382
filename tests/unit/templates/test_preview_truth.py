"""What a preview says of a message beside its words: parts, links, amounts, how it is read aloud, what clients drop."""

from __future__ import annotations

import pytest

from gateway.templates import TemplateVersion
from gateway.templates.previews.preview import ChannelPreview, preview
from gateway.templates.previews.samples import samples
from gateway.templates.rendering.mail_clients import CLIENTS, as_client, client_notes
from gateway.templates.rendering.reading import Spoken, SpokenKind, spoken
from gateway.web.editor import preview_frames
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.template_services import FOLDER, LENDER

VERSION = TemplateVersion(FOLDER.source("plan-offer", FOLDER.templates["plan-offer"]), LENDER, PROFILES)


def _shown(kind: str, locale: str = "en-US") -> dict[str, ChannelPreview]:
    sample = samples(VERSION, locale)[kind]
    return {each.channel: each for each in preview(VERSION, sample)}


@pytest.mark.parametrize("locale", ["en-US", "zh-TW"])
def test_every_link_and_amount_is_there_as_it_is_sent(locale: str) -> None:
    """On each channel by itself; with the optional variables and without; and an SMS where its segments break."""
    everything, required = _shown("everything", locale), _shown("required_only", locale)
    for channel, shown in everything.items():
        assert shown.content is not None
        assert shown.amounts
        assert all(" ".join(each.split()) in " ".join(shown.content.text.split()) for each in shown.amounts), channel
        whole = shown.content.text + shown.content.html
        assert all(each.address in whole for each in shown.links), channel
    assert "https://example.com/plan" in [each.address for each in everything["email"].links]
    assert "https://example.com/plan" not in [each.address for each in required["email"].links]
    [offer] = [each for each in everything["email"].links if each.address == "https://example.com/plan"]
    assert offer.words
    sms = everything["sms"]
    assert sms.content is not None
    assert sms.segments is not None
    assert "".join(sms.parts) == sms.content.text
    assert len(sms.parts) == sms.segments.segments > 1


def test_a_message_is_read_aloud_in_its_order_without_what_is_hidden() -> None:
    """Headings, links, items, cells of tables with data, pictures by their words; tables for the layout are silent."""
    html = """<html><head><title>T</title><style>p{}</style></head><body>
    <div style="display: none">hidden <p>deep</p></div><table role="presentation"><tr><td>
    <h2>Your <b>plan</b></h2><p>Dear Ann,<br>thank you</p><a href="https://x.example/p">Pay &amp; go</a>
    <ul><li>one</li><li>two</li></ul><table><tr><th>Fee</th><td>12</td></tr></table>
    <img alt="Our logo" src="x"><img src="y"><span aria-hidden="true">*</span></td></tr></table></body></html>"""
    assert spoken(html) == (
        Spoken(SpokenKind.HEADING, "Your plan", "2"),
        Spoken(SpokenKind.TEXT, "Dear Ann,"),
        Spoken(SpokenKind.TEXT, "thank you"),
        Spoken(SpokenKind.LINK, "Pay & go", "https://x.example/p"),
        Spoken(SpokenKind.ITEM, "one"),
        Spoken(SpokenKind.ITEM, "two"),
        Spoken(SpokenKind.CELL, "Fee"),
        Spoken(SpokenKind.CELL, "12"),
        Spoken(SpokenKind.PICTURE, "Our logo"),
    )


def test_what_mail_programs_leave_out_is_said_where_it_is_used() -> None:
    """Each with its source; nothing of a plain message, and the length that Gmail cuts at."""
    found = _shown("usual")["email"]
    assert {each.client for each in found.clients} >= {"Gmail", "Outlook for Windows"}
    assert all(each.source.startswith("https://") and each.what.translations["zh"] for each in found.clients)
    assert client_notes("<p>Hello</p>") == ()
    assert [each.client for each in client_notes("x" * 102_401)] == ["Gmail"]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_picture_of_a_client_lacks_what_it_leaves_out_and_no_word(client: str) -> None:
    """Gmail and Outlook have no dark colours of ours; Outlook no round corners and no rules for narrow screens."""
    found = _shown("usual")["email"].content
    assert found is not None
    html = preview_frames.in_scheme(found.html, client)
    assert "prefers-color-scheme" not in html
    assert ("@media" in html, "border-radius" in html) == ((True, True) if client == "gmail" else (False, False))
    assert [each.words for each in spoken(html)] == [each.words for each in spoken(found.html)]


def test_hostile_html_ends() -> None:
    """Elements that are never closed, and patterns that a careless expression would search for minutes."""
    assert spoken("<div style='display:none'>" * 5_000 + "x") == ()
    assert len(spoken("<p>" * 5_000 + "x")) == 1
    for html in ("@media{" * 5_000, "border-radius:" * 5_000, "<!--[if mso]>" * 2_000, "background:" * 5_000):
        for client in CLIENTS:
            as_client(html, client)
        client_notes(html)
