"""Past decisions with the facts of their instants, and what changed packs would have made of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from gateway.cli.backtest import backtest
from gateway.core.facts import Hold
from gateway.core.notifications import Category
from gateway.core.reasons import HoldKind
from gateway.evidence.history import History, PastDecision
from gateway.policy import load_packs, read_pack
from gateway.storage.database import Database
from gateway.templates import Catalog, Lender
from tests.support.providers.channel_profiles import PROFILES
from tests.support.storage.ledgers import NOW, close_case, draft, outgoing, people_on, store_on

TEMPLATES = Path(__file__).parents[3] / "templates"
HOUR = timedelta(hours=1)


async def _past(database: Database) -> list[PastDecision]:
    batches = [batch async for batch in History(database).decisions(NOW - HOUR, NOW + 10 * HOUR, 24 * HOUR)]
    return [decision for batch in batches for decision in batch]


async def test_each_decision_comes_with_what_was_known_then(database: Database) -> None:
    """A hold counts between its setting and its lifting; a contact counts for later decisions and not for its own."""
    store = store_on(database)
    await store.accept([draft("first")], NOW)
    hold = Hold(HoldKind.DISPUTE, NOW, None)
    await people_on(database, NOW + HOUR).put_hold("acme", "B-1", hold, "says so", "ops")
    await store.accept([draft("second", now=NOW + 2 * HOUR)], NOW + 2 * HOUR)
    await people_on(database, NOW + 3 * HOUR).lift_hold("acme", "B-1", HoldKind.DISPUTE, "ops")
    await people_on(database, NOW + 3 * HOUR).give_consent("acme", "B-1", Category.PROMOTIONAL, "web", "form 7", "ops")
    (third,) = await store.accept([draft("third", now=NOW + 4 * HOUR)], NOW + 4 * HOUR)
    assert third.first_delivery is not None
    (work,) = await store.claim([third.first_delivery], NOW + 5 * HOUR, 60)
    assert await store.start([outgoing(work)], NOW + 5 * HOUR, 60)
    await close_case(database, "C-1", NOW + 6 * HOUR)
    await store.accept([draft("fourth", now=NOW + 7 * HOUR)], NOW + 7 * HOUR)

    known = [(each.when, each.at, each.facts) for each in await _past(database)]
    assert [(when, at - NOW) for when, at, _ in known] == [
        ("accept", 0 * HOUR),
        ("accept", 2 * HOUR),
        ("accept", 4 * HOUR),
        ("handoff", 5 * HOUR),
        ("accept", 7 * HOUR),
    ]
    assert [len(facts.holds) for _, _, facts in known] == [0, 1, 0, 0, 0]
    assert [len(facts.consents) for _, _, facts in known] == [0, 0, 1, 1, 1]
    assert [len(facts.contacts) for _, _, facts in known] == [0, 0, 0, 0, 1]
    assert [facts.case_closed for _, _, facts in known] == [False, False, False, False, True]


async def test_a_backtest_names_what_a_changed_pack_would_decide_otherwise(database: Database, tmp_path: Path) -> None:
    """Packs that are the same change nothing; shorter hours defer what was sent, and the requests are named."""
    store = store_on(database)
    drafts = [draft(f"k{number}", borrower=f"B-{number}") for number in range(5)]
    await store.accept(drafts, NOW)  # 18:00 in Taipei
    policies = TEMPLATES / "policies"
    present = load_packs(policies)
    text = (policies / "tw.yaml").read_text("utf-8")
    (tmp_path / "new.yaml").write_text(text.replace('"08:00-21:00"', '"08:00-17:00"'), "utf-8")
    catalog = Catalog.load(TEMPLATES, lender=Lender("L", "1", "https://l.example"), profiles=PROFILES)

    async def differing(pack: Path) -> list[tuple[str, str, str, int]]:
        changed = present.with_pack(read_pack(pack))
        span = (NOW - HOUR, NOW + HOUR)
        result = await backtest(History(database), catalog, present, changed, *span, None, lambda _: None)
        assert result.decisions == 5
        return [row[:4] for row in result.rows()]

    assert await differing(policies / "tw.yaml") == []
    assert await differing(tmp_path / "new.yaml") == [("accept", "send permitted", "defer outside_window", 5)]
