"""An optional language model that reads what rules and weights did not understand. Off unless it is configured.

It is asked only where no safety rule holds and the weights abstain, and can't take back what they found. It gets the
text without names, addresses and numbers, and may answer one intent of a closed list; anything else, an error, a
time-out or an empty budget is an abstention, and a person reads the reply. It writes nothing to a borrower: what is
answered is a published template, and what follows is read back and confirmed, as for every intent.

A model is an entry point of the group ``gateway.reply_models``: a callable that makes a ``ReplyModel`` from options.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.conversations import ReplyModelResult
from gateway.core.notifications import Borrower
from gateway.core.reasons import Intent

GROUP = "gateway.reply_models"
# What a model may answer. Safety is the rules' alone; stop, start and help are keywords.
CLOSED = (
    Intent.BALANCE,
    Intent.DUE_DATE,
    Intent.HOW_TO_PAY,
    Intent.PAID,
    Intent.PLAN,
    Intent.PROMISE,
    Intent.RECEIPT,
    Intent.LANGUAGE,
    Intent.NEW_ADDRESS,
)
_LONGEST = 300  # characters; longer replies say several things. Our choice

_URL = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)
_MAIL = re.compile(r"\S+@\S+")
_NUMBER = re.compile(r"\d[\d\s.,/-]*")


class ReplyModelSettings(BaseModel):
    """``kind`` is the entry point's name; ``options`` are its own. The budget is that of one process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    options: Mapping[str, Any] = Field(default_factory=dict)
    seconds: float = Field(3.0, gt=0, le=30)  # our choice
    calls_per_minute: int = Field(60, ge=0)  # our choice


class ReplyModel(Protocol):
    """A language model. ``version`` stands in the events of what it read."""

    version: str

    async def choose(self, text: str, intents: Sequence[str]) -> str:
        """One of ``intents``, or "" for none. May raise anything."""
        ...


class ReplyModelReader:
    """Asks a model within its limits."""

    def __init__(
        self,
        model: ReplyModel,
        settings: ReplyModelSettings,
        monotonic: Callable[[], float],
        observe: Callable[[ReplyModelResult], None],
    ) -> None:
        self._observe = observe
        self._model = model
        self._settings = settings
        self._monotonic = monotonic
        self._calls: list[float] = []

    @property
    def version(self) -> str:
        """The model's."""
        return f"model:{self._model.version}"[:40]

    async def read(self, text: str, borrower: Borrower) -> Intent | None:
        """The intent of a reply; None: the model abstains, or was not asked."""
        if not 0 < len(text) <= _LONGEST or not self._may_ask():
            self._observe(ReplyModelResult.NOT_ASKED)
            return None
        try:
            async with asyncio.timeout(self._settings.seconds):
                said = await self._model.choose(redacted(text, borrower), [each.value for each in CLOSED])
            found = next((each for each in CLOSED if each.value == said), None)
        except Exception:
            # A plug-in may raise anything; what it raises may quote the reply, so it is not logged.
            self._observe(ReplyModelResult.FAILED)
            return None
        self._observe(ReplyModelResult.ABSTAINED if found is None else ReplyModelResult.UNDERSTOOD)
        return found

    def _may_ask(self) -> bool:
        now = self._monotonic()
        self._calls = [each for each in self._calls if each > now - 60]
        if len(self._calls) >= self._settings.calls_per_minute:
            return False
        self._calls.append(now)
        return True


def redacted(text: str, borrower: Borrower) -> str:
    """The text without what says who the borrower is: names, addresses, links, numbers."""
    known = [*borrower.addresses.values(), borrower.name, *borrower.name.split(), borrower.id]
    for each in sorted((one for one in known if len(one) > 1), key=len, reverse=True):
        text = re.sub(re.escape(each), "X", text, flags=re.IGNORECASE)
    return _NUMBER.sub("0 ", _MAIL.sub("X", _URL.sub("X", text))).strip()


def open_model(
    settings: ReplyModelSettings,
    found: Sequence[EntryPoint] | None = None,
    observe: Callable[[ReplyModelResult], None] = lambda result: None,
) -> ReplyModelReader:
    """The configured model. Raises ValueError with the remedy."""
    known = {each.name: each for each in (entry_points(group=GROUP) if found is None else found)}
    if settings.kind not in known:
        names = ", ".join(sorted(known)) or "none"
        raise ValueError(f"GATEWAY_REPLY_MODEL: there is no model {settings.kind}; installed: {names}")
    try:
        model = known[settings.kind].load()(dict(settings.options))
    except (TypeError, KeyError, ImportError) as error:
        raise ValueError(f"GATEWAY_REPLY_MODEL: {settings.kind} can't be made: {error}") from None
    return ReplyModelReader(model, settings, time.monotonic, observe)
