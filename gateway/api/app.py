"""The application: every route, with what goes around each."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from channels import registry
from gateway.api import (
    admin_log,
    borrowers,
    cases,
    controls,
    conversations,
    dead_letters,
    decisions,
    docs,
    evidence,
    inbox,
    journeys,
    notifications,
    operations,
    pages,
    receipts,
    reviews,
    suppressions,
    unsubscribe,
    webhooks,
)
from gateway.api.http import openapi, problems
from gateway.api.http.authentication import KeyRing
from gateway.api.http.fast_path import FastPathRouter
from gateway.api.http.parts import ConfiguredChannels, HttpSettings, Parts, check_complete
from gateway.api.http.path_prefix import PathPrefix
from gateway.api.http.quotas import QuotaGuard
from gateway.api.http.request_ids import RequestId
from gateway.api.templates import routes as templates
from gateway.identity.keys import Keys
from gateway.identity.quotas import QuotaRules
from gateway.observability.metrics import Metrics
from gateway.queue.quota_buckets import QuotaBuckets
from gateway.templates import Lender
from gateway.web.borrowers.words import BorrowerPages
from gateway.web.ops.routes import StatusCache
from gateway.web.page import Pages
from gateway.web.routers import PAGES


def create_app(parts: Parts) -> ASGIApp:
    """The HTTP application on ``parts``, which the caller opens and closes."""
    prefix = parts[HttpSettings].path_prefix
    app = FastAPI(
        title="Notification gateway",
        version="1",
        description="Payment reminders for regulated lenders: decided, sent once, followed to the end.",
        redirect_slashes=False,
        openapi_url="/openapi.json" if parts[HttpSettings].shows_api_docs else None,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": prefix}] if prefix else None,
        generate_unique_id_function=openapi.operation_id,
    )
    pages_of_web = Pages(registry.profiles(parts[ConfiguredChannels].channels), prefix)
    quotas = QuotaGuard(parts[QuotaRules], parts[QuotaBuckets], parts[Metrics])
    app.state.parts = Parts(
        *parts,
        KeyRing(parts[Keys]),
        quotas,
        pages_of_web,
        BorrowerPages(parts[Lender], pages_of_web.asset, prefix),
        StatusCache(parts),
        inbox.OpenStreams(),
    )
    app.add_middleware(RequestId)
    problems.install(app)
    for part in (
        notifications,
        cases,
        journeys,
        borrowers,
        conversations,
        evidence,
        decisions,
        reviews,
        suppressions,
        dead_letters,
        controls,
        admin_log,
        templates,
        webhooks,
        receipts,
        unsubscribe,
        inbox,
        operations,
    ):
        app.include_router(part.router)
    app.include_router(pages.router())
    if parts[HttpSettings].shows_api_docs:
        app.include_router(docs.router())
    app.include_router(pages_of_web.router())
    for router in PAGES:
        app.include_router(router)
    check_complete(app)
    openapi.install(app)
    answering: ASGIApp = FastPathRouter(app, [*notifications.FAST, *receipts.FAST])
    return PathPrefix(answering, prefix) if prefix else answering
