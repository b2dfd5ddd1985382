"""Which provider carries a message: weights, health by error rate, probes, drifting back, pins and pauses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import (
    Accepted,
    Capability,
    Content,
    Message,
    PermanentFailure,
    ProviderReason,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from gateway.core.controls import Switch, SwitchKind, SwitchScope
from gateway.core.deliveries import Attempt, ClaimedDelivery, Delivery
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.states import State
from gateway.stages.route import ProviderRouter
from tests.support.storage.ledgers import NOW, draft

NOTIFICATION = draft("k").notification


def _chooser(**weights: float) -> ProviderRouter:
    providers: dict[str, Any] = {
        name: SimpleNamespace(channel="sms", capability=Capability()) for name in weights or {"a": 1, "b": 1}
    }
    return ProviderRouter(providers, weights)


def _work(number: int, **changes: Any) -> ClaimedDelivery:
    delivery = replace(Delivery(f"dlv_{number}", NOTIFICATION.id, 0, "sms", "", State.ACCEPTED), **changes)
    return ClaimedDelivery(delivery, NOTIFICATION, BorrowerFacts(0, Facts()), State.ACCEPTED, True)


def _ended(provider: str, result: Accepted | SendFailure, now: datetime = NOW) -> Attempt:
    message = Message("dlv", 1, "acme", "B", "", Content("x"), "", "", None, "collections")
    return Attempt(_work(0), provider, message, now, now, result)


def _fail(router: ProviderRouter, provider: str, times: int = 20, now: datetime = NOW) -> None:
    for _ in range(times):
        router.learn(_ended(provider, UnknownOutcome(ProviderReason.TIMEOUT), now))


def _shares(router: ProviderRouter, now: datetime = NOW, switches: tuple[Switch, ...] = ()) -> Counter[str | None]:
    return Counter(router.choose(_work(number), switches, now) for number in range(1000))


def _switch(kind: SwitchKind, scope: SwitchScope, value: str, tenant: str = "") -> Switch:
    return Switch("swi_1", kind, scope, value, tenant, "test", "key:x", NOW)


def test_weights_are_shares() -> None:
    """A provider with three times the weight of another gets about three times as many messages."""
    shares = _shares(_chooser(a=3, b=1))
    assert shares["a"] == pytest.approx(750, abs=60)


def test_the_same_message_gets_the_same_answer() -> None:
    """Asked twice about one attempt, by whichever worker, the choice is the same."""
    first, second = _chooser(), _chooser()
    for number in range(50):
        assert first.choose(_work(number), (), NOW) == second.choose(_work(number), (), NOW)


def test_a_failing_provider_is_left_alone() -> None:
    """More than half of at least twenty attempts in a minute failed: the others carry its messages."""
    router = _chooser()
    _fail(router, "a")
    assert _shares(router) == {"b": 1000}


def test_few_failures_say_nothing() -> None:
    """Nineteen failures are too few, and nineteen older than a minute and one now are one."""
    router = _chooser()
    _fail(router, "a", 19)
    assert _shares(router)["a"] > 0
    _fail(router, "a", 1, NOW + timedelta(seconds=61))
    assert _shares(router, NOW + timedelta(seconds=61))["a"] > 0


@pytest.mark.parametrize(
    "result",
    [
        Accepted("SM1"),
        PermanentFailure(ProviderReason.INVALID_ADDRESS),
        PermanentFailure(ProviderReason.OPTED_OUT_AT_PROVIDER),
        TransientFailure(ProviderReason.RATE_LIMITED),
        TransientFailure(ProviderReason.TOO_LATE),
        TransientFailure(ProviderReason.NOT_BEGUN),
    ],
)
def test_what_is_not_the_providers_fault_does_not_count(result: Accepted | SendFailure) -> None:
    """Refused numbers, opted-out borrowers and "not so fast" leave a provider as healthy as it was."""
    router = _chooser()
    for _ in range(100):
        router.learn(_ended("a", result))
    assert router.health(NOW)["a"].share == 1


def test_the_last_provider_is_never_dropped() -> None:
    """With all of them failing, messages go by weight as before, and wait where they fail."""
    router = _chooser(a=1, b=1)
    _fail(router, "a")
    _fail(router, "b")
    assert set(_shares(router)) == {"a", "b"}


def test_after_a_rest_one_message_probes() -> None:
    """Half a minute later a single message tries it, and another only some seconds after that."""
    router, later = _chooser(), NOW + timedelta(seconds=31)
    _fail(router, "a")
    assert _shares(router, later) == {"a": 1, "b": 999}
    assert _shares(router, later + timedelta(seconds=6))["a"] == 1


def test_a_failed_probe_rests_it_again() -> None:
    """The probe fails: nothing more is risked for another half minute."""
    router, later = _chooser(), NOW + timedelta(seconds=31)
    _fail(router, "a")
    router.choose(_work(1), (), later)
    _fail(router, "a", 1, later)
    assert _shares(router, later + timedelta(seconds=29)) == {"b": 1000}


def test_a_good_probe_drifts_back() -> None:
    """After a success its share grows over a minute, from a tenth to the whole."""
    router, later = _chooser(), NOW + timedelta(seconds=31)
    _fail(router, "a")
    router.choose(_work(1), (), later)
    router.learn(_ended("a", Accepted("SM1"), later))
    shares = [_shares(router, later + timedelta(seconds=seconds))["a"] for seconds in (0, 30, 60)]
    assert shares[0] < 150 < shares[1] < 450 < shares[2]


def test_the_last_different_errors_are_remembered() -> None:
    """With their number and time, the latest first; what called nobody is none, and the list stays short."""
    router = _chooser(a=1)
    for reason, code in (("timeout", ""), ("blocked", "30007"), ("timeout", ""), ("not_begun", "")):
        router.learn(_ended("a", TransientFailure(ProviderReason(reason), code)))
    found = router.health(NOW)["a"].errors
    assert [(each.reason, each.code, each.number) for each in found] == [("timeout", "", 2), ("blocked", "30007", 1)]
    for number in range(10):
        router.learn(_ended("a", PermanentFailure(ProviderReason.UNMAPPED, str(number))))
    assert len(router.health(NOW)["a"].errors) == 5


def test_a_message_that_failed_goes_elsewhere() -> None:
    """A retry avoids the provider that has just failed with it, though that one may be well otherwise."""
    router = _chooser()
    works = [_work(number, state=State.RETRYING, provider="a", attempt=1) for number in range(100)]
    assert {router.choose(work, (), NOW) for work in works} == {"b"}
    assert _chooser(a=1).choose(works[0], (), NOW) == "a"


def test_a_pin_overrules_weight_and_health() -> None:
    """An operator's word goes before all of it."""
    router = _chooser(a=1, b=1000)
    _fail(router, "a")
    pin = _switch(SwitchKind.PIN, SwitchScope.PROVIDER, "a")
    assert _shares(router, switches=(pin,)) == {"a": 1000}


def test_nothing_probes_against_an_operators_word() -> None:
    """A provider that rests gets no probe while another is pinned, or while it is paused itself."""
    for switch in (
        _switch(SwitchKind.PIN, SwitchScope.PROVIDER, "b"),
        _switch(SwitchKind.PAUSE, SwitchScope.PROVIDER, "a"),
    ):
        router = _chooser()
        _fail(router, "a")
        assert _shares(router, NOW + timedelta(seconds=31), (switch,)) == {"b": 1000}


def test_a_message_that_failed_there_is_no_probe() -> None:
    """What a provider has just failed with goes elsewhere, though a probe is due."""
    router, later = _chooser(), NOW + timedelta(seconds=31)
    _fail(router, "a")
    assert router.choose(_work(1, state=State.RETRYING, provider="a", attempt=1), (), later) == "b"
    assert router.choose(_work(2), (), later) == "a"


def test_a_paused_provider_leaves_its_messages_to_the_others() -> None:
    """A pause of one provider stops no message while another can carry it; of another tenant's it stops nothing."""
    pause = _switch(SwitchKind.PAUSE, SwitchScope.PROVIDER, "a")
    assert _shares(_chooser(), switches=(pause,)) == {"b": 1000}
    elsewhere = _switch(SwitchKind.PAUSE, SwitchScope.PROVIDER, "a", tenant="another")
    assert set(_shares(_chooser(), switches=(elsewhere,))) == {"a", "b"}


def test_none_that_may_carry_it() -> None:
    """No provider of the channel, or none for the category: there is no choice."""
    assert _chooser().choose(_work(1, channel="email"), (), NOW) is None
    narrow: Any = SimpleNamespace(channel="sms", capability=Capability(categories=frozenset({"service"})))
    assert ProviderRouter({"a": narrow}, {}).choose(_work(1), (), NOW) is None


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 20)), max_size=150))
def test_whatever_happens_there_is_a_choice(steps: list[tuple[str, bool, int]]) -> None:
    """After any history of successes and failures some provider is chosen, and shares stay from 0 to 1."""
    router, now = _chooser(), NOW
    for number, (provider, good, seconds) in enumerate(steps):
        now += timedelta(seconds=seconds)
        result = Accepted("SM") if good else TransientFailure(ProviderReason.CONNECTION_FAILED)
        router.learn(_ended(provider, result, now))
        assert router.choose(_work(number), (), now) in ("a", "b")
        assert all(0 <= each.share <= 1 for each in router.health(now).values())
