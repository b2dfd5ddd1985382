"""What a simulation assumes of borrowers and channels; drawn by a hash, so that every run is the same."""

from __future__ import annotations

import tomllib
from math import log
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from gateway.journeys.arms import fraction
from gateway.journeys.definitions.model import BadDefinition

Chance = Annotated[float, Meta(ge=0, le=1)]


class Assumptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Chances of what may happen. The defaults are made up, and say so: replace them by what was measured.

    ``paid_per_day`` is without any contact; the others are per message that was delivered. ``cost`` is per message.
    ``consented`` is how many borrowers have consented to a channel that asks for it; a portfolio does not say.
    """

    seed: int = 1
    delivered: dict[str, Chance] = field(default_factory=lambda: {"sms": 0.95, "email": 0.97, "inapp": 1.0})
    read: dict[str, Chance] = field(default_factory=lambda: {"email": 0.3, "inapp": 0.4})
    replied: Chance = 0.03
    paid_per_day: Chance = 0.004
    paid: Chance = 0.06
    promised: Chance = 0.04
    promise_kept: Chance = 0.6
    plan_agreed: Chance = 0.05  # of a message that offers one
    opted_out: Chance = 0.002
    consented: dict[str, Chance] = field(default_factory=dict)
    cost: dict[str, Annotated[float, Meta(ge=0)]] = field(default_factory=lambda: {"sms": 1.2, "email": 0.05})

    def draw(self, chance: float, *words: str) -> bool:
        """Whether something with this chance happens; the same words give the same answer."""
        return chance > 0 and self.place(*words) < chance

    def consents(self, borrower_id: str, channel: str) -> bool:
        """Whether the borrower has consented to messages on the channel."""
        return self.draw(self.consented.get(channel, 0.0), borrower_id, channel, "consented")

    def place(self, *words: str) -> float:
        """A number in [0, 1)."""
        return fraction(str(self.seed), *words)

    def day_paid(self, case_id: str) -> int | None:
        """The day on which the case is paid without any contact; None: never."""
        if self.paid_per_day <= 0:
            return None
        if self.paid_per_day >= 1:
            return 0
        return int(log(1 - self.place(case_id, "pays by itself")) / log(1 - self.paid_per_day))


def read_assumptions(text: str) -> Assumptions:
    """A TOML text as assumptions. Raises BadDefinition."""
    try:
        return msgspec.convert(tomllib.loads(text), Assumptions)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadDefinition(str(error)) from None
