"""Maps the services to the classes by which HTTP routes request them."""

from __future__ import annotations

from gateway.api.http.parts import ConfiguredChannels, GatewayClock, HttpSettings, Parts
from gateway.app.app import Gateway
from gateway.borrowers.one_click import OneClick
from gateway.identity.oidc import OidcProvider
from gateway.identity.oidc_users import OidcSignIn, OidcUsers
from gateway.identity.quotas import QuotaRules
from gateway.identity.sessions import Attempts, Sessions
from gateway.web.desk_acts import DeskServices
from gateway.web.desk_views import DeskReads
from gateway.web.evidence import EvidenceArchives


def http_parts(gateway: Gateway) -> Parts:
    """One instance of each class that a route may name with ``Uses``."""
    settings = gateway.ledger.settings
    return Parts(
        HttpSettings(
            settings.effective_public_url, settings.max_body_bytes, settings.test_addresses, settings.shows_api_docs
        ),
        GatewayClock(gateway.ledger.clock),
        ConfiguredChannels(gateway.providers.channels, gateway.providers.by_name),
        gateway.ledger.admin_log,
        Attempts(gateway.ledger.database, gateway.ledger.signer),
        gateway.ledger.database,
        gateway.operations.dead_letters,
        gateway.editor.workflow,
        DeskReads(
            gateway.ledger.reads,
            gateway.operations.forecaster,
            sorted(gateway.providers.channels),
            gateway.ledger.clock,
        ),
        DeskServices(
            gateway.path.borrowers,
            gateway.journeys.cases,
            gateway.ledger.reads,
            frozenset(gateway.providers.channels),
            gateway.ledger.clock,
        ),
        EvidenceArchives(gateway.ledger.database, gateway.ledger.clock),
        gateway.operations.forecaster,
        gateway.redis.preview_cache,
        gateway.providers.inbox,
        OneClick(gateway.ledger.database, gateway.path.borrowers, gateway.ledger.clock),
        gateway.ledger.keys,
        gateway.path.metrics,
        gateway.templates.packs,
        gateway.path.borrowers,
        gateway.path.pipeline,
        gateway.path.receiver,
        gateway.redis.quota_buckets,
        QuotaRules(settings.quotas),
        OidcSignIn(
            OidcProvider(settings.oidc) if settings.oidc else None,
            OidcUsers(gateway.ledger.database, gateway.ledger.signer),
        ),
        gateway.ledger.reads,
        gateway.readiness,
        gateway.operations.reviews,
        Sessions(gateway.ledger.database, gateway.ledger.signer),
        gateway.ledger.signer,
        gateway.path.store,
        gateway.path.controls,
        gateway.editor.transfer,
        gateway.ledger.users,
        gateway.redis.feed_notifier,
        gateway.webhooks.endpoints,
        gateway.webhooks.guard,
        gateway.webhooks.tester,
        gateway.journeys.cases,
        gateway.journeys.definitions,
        gateway.journeys.reads,
        gateway.journeys.migration,
        gateway.journeys.runner,
        gateway.conversations.store,
        gateway.conversations.reads,
        gateway.conversations.desk,
        gateway.conversations.links,
        gateway.conversations.case_system,
        gateway.conversations.suggestions,
        gateway.conversations.reports,
    )
