"""The composition root: the only place that names concrete parts and reads the system clock.

``open_gateway`` puts a whole gateway together from settings and takes it apart again; ``open_ledger`` opens
just the ledger, for commands that need no more.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from channels import registry
from channels.base import Channel, Provider
from gateway import policy
from gateway.audit.auditor import Auditor
from gateway.audit.figures import Figures
from gateway.catalog import BadTemplate, Catalog, Lender, TemplateVersion
from gateway.catalog import lint as linting
from gateway.catalog.editing import Editing
from gateway.catalog.folder import Folder
from gateway.catalog.following import Follower
from gateway.catalog.preview import Price
from gateway.catalog.shelf import Shelf
from gateway.catalog.transfer import Transfer
from gateway.catalog.trial import TrialSender
from gateway.embedded import lock, valkey, world
from gateway.embedded.errors import CannotStart
from gateway.embedded.world import World
from gateway.forecast import Forecaster
from gateway.hot.connection import connect, open_pool
from gateway.hot.frames import Frames
from gateway.hot.tokens import Pacer, Rate, TokenBuckets
from gateway.hot.wakeups import Wakeups
from gateway.jobs import Queue
from gateway.ledger.callers import Callers
from gateway.ledger.clock import LedgerClock
from gateway.ledger.database import Database
from gateway.ledger.dead_letters import DeadLetters
from gateway.ledger.editions import Editions
from gateway.ledger.history import History
from gateway.ledger.inbox import Inbox
from gateway.ledger.keys import Keys
from gateway.ledger.migrate import lacks, lacks_on, migrate
from gateway.ledger.people import People
from gateway.ledger.reads import Reads
from gateway.ledger.releases import Releases
from gateway.ledger.replies import Replies
from gateway.ledger.reviews import Reviews
from gateway.ledger.sessions import Attempts, Sessions
from gateway.ledger.store import Store
from gateway.ledger.switches import Switches
from gateway.ledger.template_versions import TemplateVersions
from gateway.ledger.users import Users
from gateway.ledger.webhook_endpoints import WebhookEndpoints
from gateway.ledger.webhook_outbox import WebhookOutbox
from gateway.metrics import Metrics
from gateway.model import Facts, Notification, Verdict
from gateway.pipeline import Pipeline, Stages
from gateway.ports import Clock, Unavailable
from gateway.readiness import Probe
from gateway.settings import Settings
from gateway.signing import Signer
from gateway.stages.accept import Acceptor
from gateway.stages.choose import Chooser
from gateway.stages.enquire import Enquirer
from gateway.stages.listen import Listener
from gateway.stages.schedule import Schedule
from gateway.stages.send import Sender
from gateway.stages.settle import Settler
from gateway.webhooks.guard import Guard
from gateway.webhooks.runner import Webhooks
from gateway.webhooks.sender import WebhookSender

_SIMULATED_ACCOUNT = "AC" + "0" * 32  # the shape of a Twilio account; only the simulator knows it

# The simulator answers within milliseconds, or on purpose never: waiting longer for it teaches nothing.
_SIMULATED_SECONDS = 2.0


@dataclass(slots=True)
class LedgerParts:
    """The ledger by itself."""

    settings: Settings
    clock: Clock
    database: Database
    signer: Signer
    reads: Reads
    keys: Keys
    users: Users
    history: History


@dataclass(slots=True)
class Gateway:
    """Everything, wired. Entry points take from here what they need."""

    settings: Settings
    clock: Clock
    pipeline: Pipeline
    forecaster: Forecaster
    store: Store
    database: Database
    reads: Reads
    people: People
    reviews: Reviews
    dead_letters: DeadLetters
    switches: Switches
    auditor: Auditor
    webhooks: Webhooks
    webhook_endpoints: WebhookEndpoints
    webhook_guard: Guard
    chooser: Chooser
    keys: Keys
    users: Users
    sessions: Sessions
    attempts: Attempts
    frames: Frames
    inbox: Inbox
    catalog: Catalog
    editing: Editing
    transfer: Transfer
    follower: Follower
    channels: Mapping[str, Channel]
    providers: Mapping[str, Provider]
    metrics: Metrics
    wakeups: Wakeups
    queue: Queue
    signer: Signer
    packs: policy.Packs
    redis_url: str
    world: World | None
    readiness: Probe


def system_clock(settings: Settings) -> Clock:
    """The system's clock in UTC; moved to ``settings.at`` for a demonstration."""
    if not settings.at:
        return lambda: datetime.now(UTC)
    offset = datetime.fromisoformat(settings.at).astimezone(UTC) - datetime.now(UTC)
    return lambda: datetime.now(UTC) + offset


async def _clock(settings: Settings, database: Database) -> Clock:
    """This machine's clock where there is only this process; the ledger's, where others share it."""
    system = system_clock(settings)
    if database.is_sqlite:
        return system
    shared = LedgerClock(database, system)
    try:
        await shared.synchronise()
    except Unavailable as error:
        raise CannotStart(f"the ledger can't be reached ({error}): check GATEWAY_DATABASE_URL") from error
    return shared


@asynccontextmanager
async def open_ledger(settings: Settings, *, locked: bool = True, migrated: bool = True) -> AsyncIterator[LedgerParts]:
    """The ledger alone. The embedded one belongs to one process: it is locked, and migrated.

    Raises: CannotStart where another process has it.
    """
    async with AsyncExitStack() as stack:
        if not settings.database_url and locked:
            stack.enter_context(lock.lock(settings.data_dir))
        url = settings.database_url or f"sqlite:///{settings.data_dir.absolute()}/ledger.db"
        database = Database(url)
        stack.push_async_callback(database.close)
        if not settings.database_url and migrated:
            await asyncio.to_thread(migrate, database.engine)
        signer = Signer(settings.key())
        clock = await _clock(settings, database)
        yield LedgerParts(
            settings,
            clock,
            database,
            signer,
            Reads(database),
            Keys(database, signer),
            Users(database),
            History(database),
        )


@asynccontextmanager
async def open_gateway(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """A whole gateway, embedded parts included, until the block is left. Raises CannotStart."""
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings))
        clock = clock or ledger.clock
        if settings.database_url and (reason := await asyncio.to_thread(lacks, ledger.database.engine)):
            raise CannotStart(reason)
        redis_url = settings.redis_url or await _embedded_redis(stack, settings.data_dir)
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        wakeups = Wakeups(redis, ledger.signer.topic)
        stack.push_async_callback(wakeups.close)
        queue = Queue(partial(open_pool, redis_url, timeout=0.5, retries=0), settings.batch_size)
        stack.push_async_callback(queue.close)

        channels = registry.discover()
        inbox = Inbox(ledger.database, clock, wakeups.publish)
        entries, outside = await _provider_entries(stack, settings, clock)
        services = {"clock": clock, "inbox": inbox}
        providers = {str(each["name"]): build_provider(channels, each, services) for each in entries}
        for provider in providers.values():
            stack.push_async_callback(provider.close)

        versions = TemplateVersions(ledger.database)
        catalog = load_catalog(settings, versions)
        try:
            packs = policy.load_packs(policies_folder(settings))
            words = policy.load_words(policies_folder(settings) / "replies.toml")
        except ValueError as error:
            raise CannotStart(f"policies: {error}") from error
        await versions.keep([(each.id, each.version, each.source.dump()) for each in catalog.live()], clock())
        await catalog.refresh()
        metrics = Metrics(
            channels=list(channels),
            providers=[(each.channel, name) for name, each in providers.items()],
            templates=[each.id for each in catalog.live()],
            tenants=settings.metrics_tenants,
        )
        releases = Releases(settings.releases_per_second)
        store = Store(ledger.database, ledger.signer.digest, metrics.transaction, releases)
        people = People(ledger.database, ledger.signer.digest, clock)
        switches = Switches(ledger.database, clock)
        chooser = Chooser(providers, {str(each["name"]): float(each.get("weight", 1)) for each in entries})
        stages = _stages(
            settings,
            clock,
            ledger.signer,
            channels,
            providers,
            chooser,
            catalog,
            packs,
            words,
            store,
            outside is not None,
        )
        pace = Pacer(TokenBuckets(redis), _rates(entries))
        editions = Editions(ledger.database, clock)
        trials = TrialSender(
            editions,
            providers,
            chooser,
            switches,
            pace,
            _Addresses(channels),
            ledger.signer.digest,
            clock,
        )
        editing, transfer = _editing(settings, ledger, clock, catalog, packs, editions, trials)
        pipeline = Pipeline(
            ledger=store,
            people=people,
            replies=Replies(ledger.database, ledger.signer.digest, clock),
            switches=switches,
            stages=stages,
            providers=providers,
            open_reference=ledger.signer.open_reference,
            trigger=queue.enqueue,
            pace=pace,
            observer=metrics,
            clock=clock,
            lease_seconds=settings.lease_seconds,
        )
        stack.push_async_callback(pipeline.drain)
        guard = _guard(settings)
        # Receivers compare the time of a message with their own clock, whatever time a demonstration plays in.
        webhook_sender = WebhookSender(guard, ledger.signer.webhook_secret, lambda: datetime.now(UTC))
        stack.push_async_callback(webhook_sender.close)
        readiness = _probe(ledger.database, redis, catalog)
        stack.push_async_callback(readiness.close)
        yield Gateway(
            settings=settings,
            clock=clock,
            pipeline=pipeline,
            forecaster=Forecaster(store, stages.acceptor, stages.decide, clock),
            store=store,
            database=ledger.database,
            reads=ledger.reads,
            people=people,
            reviews=Reviews(ledger.database, ledger.signer.digest, clock),
            dead_letters=DeadLetters(ledger.database, ledger.signer.digest, clock),
            switches=switches,
            auditor=Auditor(ledger.database, Figures.load(policies_folder(settings))),
            webhooks=Webhooks(WebhookOutbox(ledger.database), webhook_sender, metrics, clock, settings.webhook_seconds),
            webhook_endpoints=WebhookEndpoints(ledger.database, ledger.signer.webhook_secret, clock),
            webhook_guard=guard,
            chooser=chooser,
            keys=ledger.keys,
            users=ledger.users,
            sessions=Sessions(ledger.database, ledger.signer),
            attempts=Attempts(ledger.database, ledger.signer),
            frames=Frames(redis),
            inbox=inbox,
            catalog=catalog,
            editing=editing,
            transfer=transfer,
            follower=Follower(catalog, editions, clock),
            channels=channels,
            providers=providers,
            metrics=metrics,
            wakeups=wakeups,
            queue=queue,
            signer=ledger.signer,
            packs=packs,
            redis_url=redis_url,
            world=outside,
            readiness=readiness,
        )


def _guard(settings: Settings) -> Guard:
    try:
        return Guard(settings.webhook_networks)
    except ValueError as error:
        raise CannotStart(f"GATEWAY_WEBHOOK_NETWORKS: {error}; write networks like 10.1.0.0/16") from error


def _probe(database: Database, redis: Any, catalog: Catalog) -> Probe:
    async def ledger() -> str:
        await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        return ""

    async def answers() -> str:
        await redis.ping()
        return ""

    async def templates() -> str:
        return "" if catalog.live() else "there is no template"

    return Probe(
        {
            "ledger": ledger,
            "migrations": lambda: database.read(lacks_on),
            "redis": answers,
            "templates": templates,
        }
    )


async def _embedded_redis(stack: AsyncExitStack, data_dir: Path) -> str:
    server = await valkey.start(data_dir)
    stack.push_async_callback(server.stop)
    return server.url


def templates_folder(settings: Settings) -> Path:
    """The templates that ship: beside the package in a checkout, inside it in an installed wheel."""
    if settings.templates_dir is not None:
        return settings.templates_dir
    here = Path(__file__).parent
    return here / "_templates" if (here / "_templates").is_dir() else here.parent / "templates"


def policies_folder(settings: Settings) -> Path:
    """Where the policy packs are."""
    return templates_folder(settings) / "policies"


def load_catalog(settings: Settings, versions: TemplateVersions) -> Catalog:
    """The templates, with the earlier versions that the ledger keeps. Raises CannotStart."""
    lender = Lender(settings.lender_name, settings.lender_phone, settings.lender_help_url)
    try:
        return Catalog.load(templates_folder(settings), lender=lender, versions=versions)
    except (BadTemplate, ValueError) as error:
        raise CannotStart(f"templates: {error}") from error


def _editing(
    settings: Settings,
    ledger: LedgerParts,
    clock: Clock,
    catalog: Catalog,
    packs: policy.Packs,
    editions: Editions,
    trials: TrialSender,
) -> tuple[Editing, Transfer]:
    """What editors do with templates, with the one lint. Raises CannotStart."""
    path = templates_folder(settings)
    try:
        words = linting.load_words(path / "_lint")
        folder = Folder.read(path)
    except (BadTemplate, ValueError, OSError) as error:
        raise CannotStart(f"templates: {error}") from error

    def lint(version: TemplateVersion) -> list[linting.Finding]:
        return linting.lint(version, words, settings.lender_name, policy.refuses_text(packs, clock()))

    # What the packs refuse is left out: they change with time, and are asked again for every request.
    shipped = (linting.lint(each, words, settings.lender_name, lambda *_: "") for each in catalog.live())
    if wrong := [str(each) for found in shipped for each in found if each.level == "error"]:
        raise CannotStart(f"templates: {len(wrong)} errors (gateway template lint has them all): {wrong[0]}")
    shelf = Shelf(editions, catalog, folder, lint, Callers(ledger.database), clock)
    prices = {
        country: Price(Decimal(amount), currency)
        for country, (amount, currency) in ((name, text.split()) for name, text in settings.sms_prices.items())
    }
    return Editing(editions, catalog, shelf, trials, prices, clock), Transfer(editions, catalog, shelf)


async def _provider_entries(
    stack: AsyncExitStack, settings: Settings, clock: Clock
) -> tuple[Sequence[Mapping[str, Any]], World | None]:
    """The configured providers; without any, simulators in a child process, embedded mode only."""
    feed = {"channel": "inapp", "kind": "feed", "name": "feed", "options": {}}
    if settings.providers:
        configured = list(settings.providers)
        return configured if any(each["channel"] == "inapp" for each in configured) else [*configured, feed], None
    if not settings.embedded:
        raise CannotStart("no providers are configured: set GATEWAY_PROVIDERS (see README, production shape)")
    sms_token, mail_token = secrets.token_hex(16), secrets.token_hex(16)
    offset = (clock() - datetime.now(UTC)).total_seconds()
    outside = await world.start(
        [
            *("--account-sid", _SIMULATED_ACCOUNT, "--token-env", "SIMULATED_SMS_TOKEN"),
            *("--dsn-url", f"{settings.effective_public_url}/v1/receipts/mail-sink"),
            *("--dsn-token-env", "SIMULATED_MAIL_TOKEN"),
            # In one word and without an exponent: a small negative number would be taken for an option.
            *(f"--clock-offset={offset:.6f}", "--state-dir", str(settings.data_dir / "simulation")),
        ],
        {"SIMULATED_SMS_TOKEN": sms_token, "SIMULATED_MAIL_TOKEN": mail_token},
        settings.data_dir / "simulation.log",
    )
    stack.push_async_callback(outside.stop)
    sms = {
        "account_sid": _SIMULATED_ACCOUNT,
        "auth_token": sms_token,
        "from_number": "+15005550006",  # Twilio's test number for "from"
        "base_url": f"http://127.0.0.1:{outside.sms_port}",
        "timeout_seconds": _SIMULATED_SECONDS,
        "lookup_settle_seconds": 2 * _SIMULATED_SECONDS,
    }
    mail = {
        "host": "127.0.0.1",
        "port": outside.smtp_port,
        "tls": "none",
        "domain": "gateway.example.com",
        "from_address": "reminders@gateway.example.com",
        "callback_token": mail_token,
    }
    simulated = [
        {"channel": "sms", "kind": "twilio", "name": "sms-simulator", "options": sms},
        {"channel": "email", "kind": "smtp", "name": "mail-sink", "options": mail},
    ]
    return [*simulated, feed], outside


def build_provider(channels: Mapping[str, Channel], entry: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
    """The provider that an entry of the settings describes. Raises CannotStart with what is wrong."""
    name, channel = str(entry["name"]), channels.get(str(entry["channel"]))
    if channel is None:
        raise CannotStart(f"provider {name}: there is no channel {entry['channel']!r}; installed: {list(channels)}")
    try:
        return channel.build(str(entry["kind"]), name, entry.get("options", {}), services)
    except ValueError as error:
        raise CannotStart(f"provider {name}: {error}") from error


def _rates(entries: Sequence[Mapping[str, Any]]) -> dict[str, Rate]:
    """The configured rates: ``"rate_per_second": 100, "burst": 100`` beside a provider's options."""
    return {
        str(entry["name"]): Rate(float(entry["rate_per_second"]), int(entry.get("burst", entry["rate_per_second"])))
        for entry in entries
        if entry.get("rate_per_second")
    }


class _Addresses:
    """The channels' address rules as accepting sees them."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels

    def normalise(self, channel: str, address: str) -> str:
        return self._channels[channel].normalise(address)


def _stages(
    settings: Settings,
    clock: Clock,
    signer: Signer,
    channels: Mapping[str, Channel],
    providers: Mapping[str, Provider],
    chooser: Chooser,
    templates: Catalog,
    packs: policy.Packs,
    words: policy.Words,
    store: Store,
    simulated: bool,
) -> Stages:
    capable = {
        channel: frozenset(
            category
            for provider in providers.values()
            if provider.channel == channel
            for category in provider.capability.categories
        )
        for channel in channels
    }

    def decide(
        notification: Notification,
        channel: str,
        facts: Facts,
        now: datetime,
        *,
        address_digest: str,
        text: str | None = None,
        approved: str = "",
        pack_names: Sequence[str] = (),
    ) -> Verdict:
        return policy.decide(
            notification,
            channel,
            facts,
            packs,
            now,
            capability_categories=capable[channel],
            text=text,
            address_digest=address_digest,
            approved=approved,
            pack_names=pack_names,
        )

    schedule = Schedule(
        receipt_wait=timedelta(hours=settings.receipt_hours),
        unknown_grace=timedelta(seconds=_SIMULATED_SECONDS if simulated else settings.unknown_grace_seconds),
        max_attempts=settings.max_attempts,
        time_scale=settings.time_scale,
    )
    sender = Sender(providers, signer.reference, settings.effective_public_url, clock, signer.unsubscribe_token)
    settler = Settler(schedule, {name: each.capability for name, each in providers.items()})
    return Stages(
        acceptor=Acceptor(templates, _Addresses(channels), decide, signer.digest),
        templates=templates,
        decide=decide,
        chooser=chooser,
        sender=sender,
        enquirer=Enquirer(store, providers, templates, sender, settler, clock),
        settler=settler,
        listener=Listener(
            words,
            lambda jurisdiction: [name for name, _, _ in packs.in_force(jurisdiction, clock()).packs],
            {"lender": settings.lender_name, "phone": settings.lender_phone, "help_url": settings.lender_help_url},
        ),
    )
