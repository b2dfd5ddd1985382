"""How a route gets the services that it uses: it names their classes in its signature.

The composition root makes each service once and hands them over together, as ``Parts``. A route declares
``reviews: Uses[Reviews]`` and FastAPI passes the one instance of that class. An endpoint that is called without
FastAPI's dependency injection calls ``part(request, Reviews)``. What has no class of its own (settings, the clock, the
configured channels) is wrapped in one of the small classes below, because a part is found by its class.
"""
# Without ``from __future__ import annotations``: FastAPI reads the annotations of ``_Dependency.__call__``.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from channels.base import Channel, Provider
from gateway.core.clock import Clock

T = TypeVar("T")


class Parts:
    """The services behind the HTTP routes, one instance of each class."""

    def __init__(self, *parts: object) -> None:
        """Raises ValueError where two parts have the same class: a route could not say which one it means."""
        self._by_class = {type(each): each for each in parts}
        if len(self._by_class) != len(parts):
            raise ValueError("two parts have the same class; wrap each in a class of its own")

    def __getitem__(self, kind: type[T]) -> T:
        """The instance of ``kind``. Raises LookupError, which is a fault in the composition root."""
        found = self._by_class.get(kind)
        if not isinstance(found, kind):
            raise LookupError(f"the composition root passes no {kind.__name__} to the HTTP routes")
        return found

    def __iter__(self) -> Iterator[object]:
        return iter(self._by_class.values())


def part(request: Request, kind: type[T]) -> T:
    """The instance of ``kind`` behind the application that answers this request."""
    parts: Parts = request.app.state.parts
    return parts[kind]


class _Dependency:
    """A FastAPI dependency that returns the part of one class.

    Asynchronous although it waits for nothing: FastAPI calls synchronous dependencies in a thread.
    """

    def __init__(self, kind: type[object]) -> None:
        self.kind = kind

    async def __call__(self, request: Request) -> object:
        return part(request, self.kind)


def check_complete(app: FastAPI) -> None:
    """Raises LookupError where a route names a part that is not there: at the start, and not at the first request."""

    def check(dependant: Dependant) -> None:
        if isinstance(dependant.call, _Dependency):
            parts[dependant.call.kind]
        for each in dependant.dependencies:
            check(each)

    parts: Parts = app.state.parts
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            check(context.original_route.dependant)


if TYPE_CHECKING:
    Uses = Annotated[T, "a part"]  # for mypy, ``Uses[Reviews]`` is ``Reviews``
else:

    class Uses:
        """``Uses[Reviews]`` in a route's signature: the instance of ``Reviews``, passed by FastAPI."""

        def __class_getitem__(cls, kind: type[object]) -> object:
            return Annotated[kind, Depends(_Dependency(kind))]


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The settings that routes use. ``public_url`` is the address by which providers and browsers reach us."""

    public_url: str
    max_body_bytes: int
    # Where a tenant's API keys may have test messages sent: tenant, channel, addresses.
    test_addresses: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    shows_api_docs: bool = False  # /docs and /openapi.json

    @property
    def path_prefix(self) -> str:
        """The path of the public URL, under which a proxy publishes the gateway: ``/reminders``; mostly empty."""
        return urlsplit(self.public_url).path.rstrip("/")


@dataclass(frozen=True, slots=True)
class GatewayClock:
    """The gateway's clock. Call it for the time (UTC, aware)."""

    clock: Clock

    def __call__(self) -> datetime:
        return self.clock()


@dataclass(frozen=True, slots=True)
class ConfiguredChannels:
    """The channels that exist, and the providers that are configured for them, each by its name."""

    channels: Mapping[str, Channel]
    providers: Mapping[str, Provider]
