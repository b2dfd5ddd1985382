"""Running a gateway: the HTTP server, the worker, or both in one process, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from importlib.metadata import version

import structlog
import uvicorn

from channels.base import Listens
from gateway.app.app import Gateway, open_gateway
from gateway.app.embedded.errors import CannotStart
from gateway.app.http_protocol import HttpLimits, limited_protocol
from gateway.app.periodic import PeriodicWork, run_periodically
from gateway.app.settings import Settings
from gateway.conversations.assistant_settings import WAITS
from gateway.core.clock import Clock
from gateway.observability import metrics_server, tracing
from gateway.observability.readiness import API_DOES_WITHOUT
from gateway.operations.processes import Heartbeat
from gateway.queue.connection import open_pool
from gateway.queue.due_scanner import DueScanner
from gateway.queue.jobs import WorkerOptions, run_worker
from gateway.storage.clock import LedgerClock
from gateway.storage.upgrade.migrate import rollback_possible
from gateway.templates.workflow import author_mails
from gateway.templates.workflow.publication_watcher import INTERVAL_SECONDS

_GAUGES_SECONDS = 5.0  # how often the ledger is asked for queue ages; half of a usual scrape interval
_TEMPLATE_POLL_SECONDS = 600.0  # our choice: a pushed state that got lost is made up for within ten minutes
_AUDIT_SECONDS = 10.0  # how often what went out is judged a second time; our choice
_KEEP_ALIVE_SECONDS = 65  # above the 60 s idle time-out that load balancers use by default
_GRACE_SECONDS = 10  # for HTTP requests under way at the stop; a provider's time-out
# RFC 6797: browsers that were here once by HTTPS never come by plain HTTP again. Only where the public URL is https
# (section 7.2); seconds: one year, what hstspreload.org asks for.
_STRICT_TRANSPORT = ("strict-transport-security", "max-age=31536000")
# New objects after which the collector looks for cycles among them. Python's 700 are three requests under way, which it
# would go through again and again: a tenth of the processor's time (measured). Some megabytes; our choice.
_COLLECTED_AFTER = 20_000


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: stopping is the caller's decision."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    settings: Settings,
    *,
    api: bool,
    worker: bool,
    stop: asyncio.Event,
    ready: Callable[[Gateway], Coroutine[None, None, None]] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run until ``stop`` is set; ``ready`` is called once requests are answered.

    ``clock`` replaces the clock that the settings name, for a demonstration.

    Raises: CannotStart (a taken port, a second instance on the data directory, a missing part).
    """
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(_listen(settings.host, settings.port, "GATEWAY_PORT")) if api else None
        metrics = settings.metrics_address
        scraped = sockets.enter_context(_listen(*metrics, "GATEWAY_METRICS_PORT")) if metrics else None
        bound = {"port": listener, "metrics_port": scraped}
        settings = settings.model_copy(update={name: each.getsockname()[1] for name, each in bound.items() if each})
        kind = "both" if api and worker else "api" if api else "worker"
        with _traced(settings, kind):
            await _serve(settings, kind, listener, scraped, stop, ready, clock)


@contextlib.contextmanager
def _traced(settings: Settings, kind: str) -> Iterator[None]:
    """Make traces while this runs, where the settings say to whom they go."""
    if settings.traces_url:
        try:
            tracing.configure(settings.traces_url, settings.traces_ratio, kind)
        except tracing.CannotTrace as error:
            raise CannotStart(f"GATEWAY_TRACES_URL: {error}") from error
    try:
        yield
    finally:
        tracing.shut_down()


async def _serve(
    settings: Settings,
    kind: str,
    listener: socket.socket | None,
    scraped: socket.socket | None,
    stop: asyncio.Event,
    ready: Callable[[Gateway], Coroutine[None, None, None]] | None,
    clock: Clock | None,
) -> None:
    works = kind != "api"
    gc.set_threshold(_COLLECTED_AFTER)
    async with (
        open_gateway(settings, clock=clock) as gateway,
        _metrics_served(gateway, kind, scraped),
        asyncio.TaskGroup() as tasks,
    ):
        structlog.get_logger("serving").info("started", mode=kind, version=version("notification-gateway"))
        server = http_server(gateway) if listener is not None else None
        if server is not None and listener is not None:
            tasks.create_task(server.serve([listener]), name="http")
            while not server.started:  # noqa: ASYNC110 – uvicorn has a flag, and no event
                await asyncio.sleep(0.01)
        if works:
            _start_worker(tasks, gateway, stop)
            _start_listening(tasks, gateway, stop)
        for each in _periodic(gateway, kind):
            tasks.create_task(run_periodically(each, stop), name=each.name)
        # What is here now (code, packs, templates) stays: the collector need not go through it again and again.
        gc.collect()
        gc.freeze()
        gc.enable()  # the command line has disabled it for the start
        if ready is not None:
            tasks.create_task(ready(gateway), name="ready")
        await stop.wait()
        gateway.path.pipeline.stop()
        structlog.get_logger("serving").info("stopping", mode=kind)
        if server is not None:
            server.should_exit = True


@contextlib.asynccontextmanager
async def _metrics_served(gateway: Gateway, kind: str, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serve metrics and probes on ``listener``, from before the API starts until after it has ended."""
    if listener is None:
        yield
        return
    # The API takes requests without Redis, a worker does nothing without it.
    can_do_without = frozenset[str]() if kind == "worker" else API_DOES_WITHOUT
    server = await metrics_server.serve(gateway.path.metrics, gateway.readiness, listener, can_do_without)
    try:
        yield
    finally:
        await server.close()


def _listen(host: str, port: int, setting: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    # Connections inherit it. Head and body of an answer are two writes: without it, the second waits 40 ms for the
    # client's delayed acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotStart(f"cannot listen on {host}:{port}: {error.strerror}; set {setting} to another one") from error
    return listener


def http_server(gateway: Gateway) -> Server:
    """The HTTP server of the API, with its limits and the header fields of every answer."""
    # Half of what is imported otherwise, in time and memory, and a process that only works needs none of it.
    from gateway.api.app import create_app
    from gateway.app.http import http_parts

    settings = gateway.ledger.settings
    config = uvicorn.Config(
        create_app(http_parts(gateway)),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
        # By the server and not the application, so that the refusals of the protocol have it as well.
        headers=[_STRICT_TRANSPORT] if settings.effective_public_url.startswith("https://") else [],
        http=limited_protocol(HttpLimits(connections=settings.max_connections)),
    )
    return Server(config)


def _start_worker(tasks: asyncio.TaskGroup, gateway: Gateway, stop: asyncio.Event) -> None:
    tasks.create_task(
        run_worker(
            lambda: open_pool(gateway.redis.url),
            gateway.path.pipeline.dispatch,
            stop,
            # Longer than a batch can take: it begins nothing after half of its lease.
            options=WorkerOptions(timeout_seconds=gateway.ledger.settings.lease_seconds),
        ),
        name="worker",
    )


def _periodic(gateway: Gateway, kind: str) -> Iterator[PeriodicWork]:
    """What this kind of process does again and again."""
    yield PeriodicWork("catalog", INTERVAL_SECONDS, gateway.editor.watcher.run_once)
    heartbeat = _heartbeat(gateway, kind)
    # The readiness that it reports names the outage already.
    yield PeriodicWork("gauges", _GAUGES_SECONDS, partial(_refresh_gauges, gateway, heartbeat), log_unavailable=False)
    if kind == "api":
        return
    settings = gateway.ledger.settings
    relay = DueScanner(
        gateway.path.store.due,
        gateway.redis.queue.enqueue,
        gateway.ledger.clock,
        settings.relay_seconds,
        gateway.path.metrics.relay_ran,
        gateway.path.receiver.match_parked,
    )
    yield PeriodicWork("relay", settings.relay_seconds, relay.run_once)
    journeys = DueScanner(
        gateway.journeys.runner.due,
        gateway.journeys.runner.run,
        gateway.ledger.clock,
        settings.relay_seconds,
        lambda now, triggered, late: None,  # the deliveries' scanner reports how this process does
    )
    yield PeriodicWork("journeys", settings.relay_seconds, journeys.run_once, continue_on_error=True)
    assistant = gateway.conversations.assistant.run_once
    yield PeriodicWork("assistant", WAITS.total_seconds(), assistant, continue_on_error=True)
    yield PeriodicWork("webhooks", settings.webhook_seconds, gateway.webhooks.runner.run_once)
    mails = gateway.editor.author_mails.run_once
    yield PeriodicWork("author_mails", author_mails.INTERVAL_SECONDS, mails, continue_on_error=True)
    templates = partial(_provider_templates, gateway)
    yield PeriodicWork("provider_templates", _TEMPLATE_POLL_SECONDS, templates, continue_on_error=True)
    # A fault in the audit must not stop the sending: the alert GatewayAuditStopped reports it.
    yield PeriodicWork("audit", _AUDIT_SECONDS, partial(_audit, gateway), log_unavailable=False, continue_on_error=True)


async def _provider_templates(gateway: Gateway) -> None:
    """Take providers' templates along to the live versions, and ask the providers for their states."""
    await gateway.editor.workflow.carry_over.to_live_versions()
    await gateway.path.forms.poll(gateway.providers.by_name)


async def _audit(gateway: Gateway) -> None:
    """Judge what went out a second time. A page of ops/runbooks says what to do about what it finds."""
    now = gateway.ledger.clock()
    contacts = await gateway.operations.auditor.catch_up(now)
    gateway.path.metrics.audited(now, contacts, await gateway.operations.auditor.lately(now))


def _start_listening(tasks: asyncio.TaskGroup, gateway: Gateway, stop: asyncio.Event) -> None:
    for name, provider in gateway.providers.by_name.items():
        if isinstance(provider, Listens):
            tasks.create_task(_listen_to(name, provider, gateway, stop), name=f"listen-{name}")


async def _listen_to(name: str, provider: Listens, gateway: Gateway, stop: asyncio.Event) -> None:
    try:
        await provider.listen(partial(gateway.path.receiver.handle_provider_push, name), stop)
    except OSError as error:
        raise CannotStart(
            f"provider {name} cannot listen: {error.strerror}; set another port in its options"
        ) from error


def _heartbeat(gateway: Gateway, kind: str) -> Heartbeat:
    release = gateway.ledger.settings.release
    # Until the first beat nobody knows which versions run. An embedded ledger has one process.
    gateway.ledger.database.backward_compatible = not gateway.ledger.database.is_sqlite
    return Heartbeat(gateway.ledger.database, kind, release)


async def _refresh_gauges(gateway: Gateway, heartbeat: Heartbeat) -> None:
    """Bring the metrics of the ledger up to date, and record that this process lives. Raises Unavailable."""
    gateway.path.metrics.depends_on((await gateway.readiness.ask()).checks)
    ages = await gateway.path.store.ages(gateway.ledger.clock())
    gateway.path.metrics.queue(ages.due, ages.oldest_due_seconds, await gateway.redis.queue.waiting())
    gateway.path.metrics.unknown(ages.unknown)
    gateway.path.metrics.review(ages.reviews, ages.oldest_review_seconds)
    gateway.path.metrics.conversations(ages.conversations)
    gateway.path.metrics.paused(ages.paused)
    journeys = await gateway.journeys.reads.backlog(gateway.ledger.clock())
    gateway.path.metrics.journeys(
        journeys.due, journeys.oldest_due_seconds, journeys.review, journeys.gates, journeys.unreadable
    )
    gateway.path.metrics.switches(await gateway.path.controls.in_force(gateway.ledger.clock()))
    health = gateway.providers.router.health(gateway.ledger.clock())
    gateway.path.metrics.provider_shares({name: each.share for name, each in health.items()})
    await heartbeat.beat(gateway.ledger.clock(), health)
    # The previous version can't read packed rows: none are written until an operator has ruled out a rollback to it.
    others = await heartbeat.others(gateway.ledger.clock())
    gateway.ledger.database.backward_compatible = others or await gateway.ledger.database.read(rollback_possible)
    if isinstance(gateway.ledger.clock, LedgerClock):
        gateway.path.metrics.clock_ahead(await gateway.ledger.clock.synchronise())
