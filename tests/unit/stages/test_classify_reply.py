"""What a reply is taken for where the provider has recognised a keyword by itself."""

from __future__ import annotations

import pytest

from channels.base import Keyword
from gateway.core.notifications import Borrower
from gateway.core.reasons import Intent
from gateway.stages.classify_reply import ReplyClassifier
from tests.support.rules.replies import shipped_interpreter

BORROWER = Borrower("B-1", "Chen Mei", "en", "us", ("America/New_York",), {"sms": "+12025550100"})


@pytest.mark.parametrize(
    ("text", "keyword", "intent"),
    [
        ("UNFOLLOW", None, Intent.OTHER),
        ("UNFOLLOW", Keyword.STOP, Intent.STOP),
        ("STOP", Keyword.START, Intent.START),
        ("INFO", Keyword.HELP, Intent.HELP),
        ("STOP", None, Intent.STOP),
    ],
)
def test_the_providers_own_word_decides(text: str, keyword: Keyword | None, intent: Intent) -> None:
    """It may be a keyword that only the account knows, and the provider acts on it whatever we think."""
    shipped = shipped_interpreter()
    classifier = ReplyClassifier(shipped.understand, shipped.answer, lambda _jurisdiction: ("default", "us_regf"), {})
    assert classifier.classify(text, BORROWER, keyword).intent is intent
