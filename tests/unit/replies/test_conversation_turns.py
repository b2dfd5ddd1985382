"""What a reply changes in its conversation, as a table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.core.conversations import ConversationState, Handler, Turn, after_reply
from gateway.core.reasons import HoldKind, Intent
from gateway.core.understanding import Understanding, Urgency
from tests.support.rules.replies import shipped_interpreter
from tests.support.storage.ledgers import NOW, later

HOUR = timedelta(hours=1)
BALANCE = Understanding((Intent.BALANCE,), urgency=Urgency.ROUTINE, review_within=24 * HOUR)
DANGER = Understanding((Intent.DANGER,), (HoldKind.VULNERABLE,), Urgency.NOW, HOUR)
OTHER = Understanding((Intent.OTHER,), urgency=Urgency.ROUTINE, review_within=24 * HOUR)
STOP, THANKS = Understanding((Intent.STOP,)), Understanding((Intent.THANKS,))
A, P = Handler.ASSISTANT, Handler.PERSON
WAITING, ANSWERED, CLOSED = ConversationState.WAITING, ConversationState.ANSWERED, ConversationState.CLOSED


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        (Turn(), BALANCE, Turn(WAITING, A, Urgency.ROUTINE, later(86400), NOW)),
        (Turn(), OTHER, Turn(WAITING, A, Urgency.ROUTINE, later(86400), NOW)),
        (Turn(), DANGER, Turn(WAITING, P, Urgency.NOW, later(3600))),
        (Turn(handler=P), BALANCE, Turn(WAITING, P, Urgency.ROUTINE, later(86400))),
        (Turn(), THANKS, Turn()),
        (Turn(WAITING, A, Urgency.ROUTINE, NOW, NOW), STOP, Turn(WAITING, A, Urgency.ROUTINE, NOW)),
        (Turn(WAITING, P, Urgency.NOW, NOW), BALANCE, Turn(WAITING, P, Urgency.NOW, NOW)),
        (Turn(ANSWERED, A, answers=2, asked="promise"), DANGER, Turn(WAITING, P, Urgency.NOW, later(3600), answers=2)),
        (Turn(CLOSED, P, answers=2), BALANCE, Turn(WAITING, A, Urgency.ROUTINE, later(86400), NOW)),
        (Turn(CLOSED, P), THANKS, Turn(CLOSED, P)),
    ],
)
def test_a_reply_moves_its_conversation(before: Turn, said: Understanding, after: Turn) -> None:
    """What a person must answer takes it from the assistant; urgency and clock are those of all that waits."""
    assert after_reply(before, said, NOW) == after


def test_emoji_alone_wait_by_the_ordinary_clock() -> None:
    """A thumb may be a yes: somebody reads it, within what isn't understood has."""
    said = shipped_interpreter().understand("👍🙏", ["default"])
    assert (said.intent, said.urgency, said.review_within) == (Intent.OTHER, Urgency.ROUTINE, timedelta(days=1))
