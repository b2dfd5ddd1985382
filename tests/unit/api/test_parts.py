"""How routes get the services that they use."""

from __future__ import annotations

import aiohttp
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request

from gateway.api.http.parts import Parts, Uses, check_complete, part
from tests.support.api_gateway import Client, serving


class Greeter:
    """A service."""

    def __init__(self, word: str) -> None:
        self.word = word


class Absent:
    """A service that nobody made."""


async def _word(greeter: Uses[Greeter]) -> str:
    return greeter.word


def _app(*parts: object) -> FastAPI:
    app, router = FastAPI(), APIRouter()
    app.state.parts = Parts(*parts)

    @router.get("/declared")
    async def declared(greeter: Uses[Greeter], word: str = Depends(_word)) -> str:
        return f"{greeter.word} {word}"

    @router.get("/bare")
    async def bare(request: Request) -> str:
        return part(request, Greeter).word

    app.include_router(router)
    return app


async def test_a_route_gets_the_instance_of_the_class_that_it_names() -> None:
    """In its signature, in a dependency's signature, and from the bare request."""
    async with serving(_app(Greeter("hello"))) as url, aiohttp.ClientSession() as session:
        client = Client(session, url, "")
        assert (await client.get("/declared")).json == "hello hello"
        assert (await client.get("/bare")).json == "hello"


def test_a_part_that_is_missing_is_found_at_the_start() -> None:
    """Not at the first request to the route that uses it."""
    check_complete(_app(Greeter("hello")))
    with pytest.raises(LookupError, match="passes no Greeter"):
        check_complete(_app(Absent()))


def test_two_parts_of_one_class_are_refused() -> None:
    """A route could not say which of them it means."""
    with pytest.raises(ValueError, match="same class"):
        Parts(Greeter("a"), Greeter("b"))
