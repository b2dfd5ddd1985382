"""Takes borrowers' replies: once each, with their sender, and in effect before they are answered.

A reply names no tenant and no borrower: both are found by the address's digest. A number that several borrowers
share speaks for all of them, and a stop for whoever is written to there later
(ops/decisions/0020-opt-outs-of-addresses.md). Those that arrive while others are being recorded are recorded together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from channels.base import Reply
from gateway.borrowers.addresses import change_borrowers_at, opt_in_address, opt_out_address
from gateway.borrowers.changes import of_borrower, wait_for_in_flight
from gateway.core.batcher import Batcher
from gateway.core.clock import Clock
from gateway.core.codec import REPLY
from gateway.core.deliveries import RecordedReply
from gateway.core.errors import InvalidData, Unavailable
from gateway.core.notifications import Borrower
from gateway.core.reasons import Intent
from gateway.core.understanding import Understanding
from gateway.replies.recording import OpenedWindow, RecordedEffect, UnderstoodReply, one_at_a_time, opening, record
from gateway.replies.senders import FoundSenders, ReplySource, find_senders
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.database import Database
from gateway.storage.facts import AddressKey
from gateway.storage.statements import execute_pipelined

_LONGEST_ID = 128  # the column's
# As many replies are understood and recorded together. Our choice: understanding them takes some 20 ms.
_MOST_AT_ONCE = 32

# Whose reply it is before anybody is known at its address: what it says is judged without a country's own words.
_NOBODY = Borrower("", "", "", "", (), {})

Classify = Callable[[str, Borrower], Understanding]


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of a reply: recorded for each of its senders, in order, or the error of the first that was not."""

    found: FoundSenders
    understood: Sequence[UnderstoodReply]
    effects: Sequence[RecordedEffect]
    error: Exception | None = None


class ReplyStore:
    """Stores replies and their consequences in the ledger."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._digest = digest
        self._rules = route_rules(digest)
        self._clock = clock
        self._taking = Batcher(self._take, max_batch=_MOST_AT_ONCE)

    async def record(
        self,
        reply: Reply,
        channel: str,
        address: str,
        classify: Classify,
        delivery_id: str = "",
        window: str = "",
    ) -> list[RecordedReply]:
        """Record a reply and what follows from it, for every borrower at that address; [] where there is none.

        ``delivery_id`` names the message that is answered, where that is known: its address counts, for its tenant.
        ``window`` is the provider whose service window the reply opens, "" for none; it opens whoever wrote.

        A reply that was recorded before is answered as not ``new`` and changes nothing. When this returns, no message
        that a stop forbids starts any more. Raises Unavailable, InvalidData.
        """
        source = ReplySource(_storable(reply), channel, address, delivery_id, window)
        [taken] = await self._taking.submit([(source, classify)])
        if taken.error is not None:
            raise taken.error
        await self._stop(source, classify, taken)
        return [each.recorded for each in taken.effects]

    async def _take(self, arrived: Sequence[tuple[ReplySource, Classify]]) -> list[_Taken]:
        """Find the senders of replies, understand what each says, and record it."""
        sources = [source for source, _ in arrived]
        found = await self._database.read(lambda connection: find_senders(connection, sources, self._digest))
        understood: list[list[UnderstoodReply]] = []
        for (source, classify), senders in zip(arrived, found, strict=True):
            understood.append(
                [
                    UnderstoodReply(source.reply, source.channel, each, classify(source.reply.text, each.borrower))
                    for each in senders.senders
                ]
            )
            await asyncio.sleep(0)  # others get a turn: a long text that is made to be slow takes 0.14 s, measured
        windows = _windows(sources, found)
        results: dict[int, RecordedEffect | Exception] = {}
        groups = one_at_a_time([each for some in understood for each in some])
        for at, group in enumerate(groups):
            results.update(zip(map(id, group), await self._record(group, () if at else windows), strict=True))
        if windows and not groups:
            await self._open(windows)
        return [
            _outcome(senders, some, [results[id(each)] for each in some])
            for senders, some in zip(found, understood, strict=True)
        ]

    async def _open(self, windows: Collection[OpenedWindow]) -> None:
        """Open the windows of replies of nobody who is known here yet. Raises Unavailable."""
        await self._database.write(
            lambda connection: execute_pipelined(connection, opening(connection, windows, self._clock()))
        )

    async def _record(
        self, group: Sequence[UnderstoodReply], windows: Collection[OpenedWindow]
    ) -> Sequence[RecordedEffect | Exception]:
        """Record a group, and windows, in one transaction; an error for each of those that could not be recorded.

        One that can't be stored does not keep the others from it. What failed is made up for when the provider brings
        the reply again.
        """
        try:
            return await self._database.write(
                lambda connection: record(connection, self._rules, group, windows, self._clock())
            )
        except Unavailable as error:
            return [error] * len(group)
        except InvalidData as error:
            if len(group) == 1:
                return [error]
        middle = len(group) // 2
        halves = (group[:middle], group[middle:])
        return [effect for half in halves for effect in await self._record(half, windows)]

    async def _stop(self, source: ReplySource, classify: Classify, taken: _Taken) -> None:
        """Have a stop that was recorded hold for everybody at the address, and wait for what is in flight."""
        now, channel, keys = self._clock(), source.channel, taken.found.keys
        pairs = list(zip(taken.understood, taken.effects, strict=True))
        stopped = {each.key for each, one in pairs if one.recorded.new and Intent.STOP in each.said.intents}
        # Of tenants to whom nobody is known there yet: the same sender may write to that address for them.
        others = keys - {each.key(channel) for each in taken.found.senders}
        intents = classify(source.reply.text, _NOBODY).intents if others else ()
        if not {Intent.STOP, Intent.START}.isdisjoint(intents):
            await self._database.write(lambda connection: _tell_addresses(connection, sorted(others), intents, now))
            stopped |= others if Intent.STOP in intents else set()
        people = [each.sender.person for each in taken.understood]
        await change_borrowers_at(self._database, self._rules, stopped, REPLY, self._clock, changed=people)
        for each, one in pairs:
            if one.waits:
                await wait_for_in_flight(self._database, of_borrower(*each.sender.person), self._clock)


def _windows(sources: Sequence[ReplySource], found: Sequence[FoundSenders]) -> set[OpenedWindow]:
    """The windows that replies open, for every tenant that shares the senders that they were written to."""
    return {
        OpenedWindow(tenant, source.window, digest)
        for source, senders in zip(sources, found, strict=True)
        if source.window
        for tenant, _, digest in senders.keys
    }


def _outcome(
    found: FoundSenders, understood: Sequence[UnderstoodReply], results: Sequence[RecordedEffect | Exception]
) -> _Taken:
    error = next((each for each in results if isinstance(each, Exception)), None)
    return _Taken(found, understood, [each for each in results if isinstance(each, RecordedEffect)], error)


def _tell_addresses(
    connection: Connection, keys: Sequence[AddressKey], intents: Collection[Intent], now: datetime
) -> None:
    """What a certain stop or start says of these addresses, which come in order: their rows are locked."""
    for key in keys:
        if Intent.STOP in intents:
            opt_out_address(connection, key, REPLY, now)
        elif Intent.START in intents:
            opt_in_address(connection, key, now)


def _storable(reply: Reply) -> Reply:
    """The reply without what a column can't hold: a stop counts, whatever else is in its text.

    PostgreSQL's texts have no NUL, UTF-8 has no surrogates (RFC 3629, section 3), and the provider's id has a longest
    length; a digest in its place still recognises a reply that comes again.
    """
    text, key = _plain(reply.text), _plain(reply.provider_message_id)
    if key != reply.provider_message_id or len(key) > _LONGEST_ID:
        key = hashlib.sha256(reply.provider_message_id.encode(errors="surrogatepass")).hexdigest()
    return replace(reply, text=text, provider_message_id=key)


def _plain(text: str) -> str:
    return text.replace("\0", " ").encode(errors="replace").decode()
