"""The routers of all pages, in the order in which paths are matched. A new page is one file and a line here."""

from __future__ import annotations

from gateway.web import landing, oidc, sign_in
from gateway.web.borrowers import routes as borrowers
from gateway.web.borrowers import verify
from gateway.web.desk import conversations
from gateway.web.desk import routes as desk
from gateway.web.editor import forms, new_template, provider_templates, reviews, words
from gateway.web.editor import routes as editor
from gateway.web.journeys import routes as journeys
from gateway.web.journeys import simulation
from gateway.web.ops import controls, dead_letters, providers, questions, runbooks, sessions, webhooks
from gateway.web.ops import routes as ops

PAGES = (
    landing.router,
    sign_in.router,
    oidc.router,
    sessions.router,
    new_template.router,
    forms.router,
    provider_templates.router,
    reviews.router,
    words.router,
    editor.router,
    simulation.router,  # before the page of any definition's name
    journeys.router,
    ops.router,
    controls.router,
    providers.router,
    dead_letters.router,
    questions.router,
    webhooks.router,
    runbooks.router,
    conversations.router,
    desk.router,
    borrowers.router,
    verify.router,
)
