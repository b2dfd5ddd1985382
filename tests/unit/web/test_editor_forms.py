"""What the editor's forms and previews are made of: a mail in a colour scheme, and the files of a submitted form."""

from __future__ import annotations

import pytest

from gateway.web.editor import preview_frames
from gateway.web.editor.routes import files_of
from gateway.web.editor.views import PartText
from gateway.web.form_texts import digest


@pytest.mark.parametrize(
    ("scheme", "media", "meta"), [("light", "(max-width: 0)", "light"), ("dark", "(min-width: 0)", "dark")]
)
def test_a_mail_is_shown_in_the_colours_that_were_asked_for(scheme: str, media: str, meta: str) -> None:
    """Whatever the editor's own device prefers; a mail that knows one look only is shown on white."""
    mail = (
        '<html><head><meta name="color-scheme" content="light dark"><style>@media (prefers-color-scheme: dark)'
        "{p{color:#fff}}</style></head><body><p>Hello</p></body></html>"
    )
    shown = preview_frames.in_scheme(mail, scheme)
    assert f"@media {media}" in shown
    assert f'content="{meta}"' in shown
    assert 'content="only light"' in preview_frames.in_scheme("<html><head></head><body>Hello</body></html>", scheme)


def test_a_form_leaves_what_it_does_not_show_alone() -> None:
    """Parts that are not on the page stay; an empty one that was not there stays away; files keep their line end."""
    stored = {"template.toml": "x\n", "en-US/sms.liquid": "Hello\n", "examples/plain.json": "{}"}
    form = {"f.en-US/sms.liquid": "Good day", "f.en-US/email.txt.liquid": "", "f.en-US/inapp.txt.liquid": "New"}
    assert files_of(form, stored) == {
        "template.toml": "x\n",
        "en-US/sms.liquid": "Good day\n",
        "en-US/inapp.txt.liquid": "New\n",
        "examples/plain.json": "{}",
    }
    assert PartText("a", "a", "Hello", "A").seen == digest("Hello\n")
