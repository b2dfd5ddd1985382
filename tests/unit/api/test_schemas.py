"""What the door lets in, and where it points when it doesn't."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.http.bodies import validated
from gateway.api.http.problems import KINDS, Problem, pointer
from gateway.api.requests.notifications import BatchItemIn, NotificationIn
from gateway.core.codec import encode, fingerprint
from gateway.core.notifications import Category, Step
from gateway.observability.metrics import RefusedReason
from tests.support.api_gateway import request


def changed(path: str, value: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(request()))
    *parents, last = path.strip("/").split("/")
    place: Any = body
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return body


def test_a_request_arrives_complete() -> None:
    """Everything that was sent is in the value that the stages get, in its type."""
    raw = request(send_at="2026-11-24T10:00:00+08:00", metadata={"batch": 7}, dedup_key="d-1")
    incoming = validated(NotificationIn, raw).incoming("key-1", raw)
    assert incoming.route == (Step("sms", timedelta(minutes=30), "delivered"), Step("inapp", None, "delivered"))
    assert incoming.send_at == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    assert (incoming.category, incoming.idempotency_key, incoming.dedup_key) == (Category.COLLECTIONS, "key-1", "d-1")
    assert (incoming.borrower.time_zones, incoming.metadata) == (("Asia/Taipei",), {"batch": 7})


WRONG = [
    ("/template", ..., "/template"),
    ("/templat", "x", "/templat"),
    ("/borrower", "B-1", "/borrower"),
    ("/borrower/id", "", "/borrower/id"),
    ("/borrower/id", "a/b", "/borrower/id"),
    ("/borrower/id", "a\n", "/borrower/id"),
    ("/borrower/id", 7, "/borrower/id"),
    ("/borrower/id", "x" * 129, "/borrower/id"),
    ("/borrower/name", "Chen\x00Mei", "/borrower/name"),
    ("/borrower/jurisdiction", "TW!", "/borrower/jurisdiction"),
    ("/borrower/time_zones", "Asia/Taipei", "/borrower/time_zones"),
    ("/borrower/addresses/sms", None, "/borrower/addresses/sms"),
    ("/borrower/addresses/S~M/S", "x", "/borrower/addresses/S~0M~1S"),
    ("/borrower/windows", [["18:00", "24:30"]], "/borrower/windows/0/1"),
    ("/borrower/windows", [["18:00"]], "/borrower/windows/0/1"),
    ("/case/due_date", "2026-02-30", "/case/due_date"),
    ("/case/due_date", 1_793_000_000, "/case/due_date"),
    ("/route", [], "/route"),
    ("/route/1", 7, "/route/1"),
    ("/route/0/wait", "PT0S", "/route/0/wait"),
    ("/route/0/wait", "P8D", "/route/0/wait"),
    ("/route/0/wait", "30", "/route/0/wait"),
    ("/route/0/wait", 30, "/route/0/wait"),
    ("/route/0/until", "eternity", "/route/0/until"),
    ("/category", "marketing", "/category"),
    ("/send_at", "2026-11-24T10:00:00", "/send_at"),
    ("/send_at", 1_793_000_000, "/send_at"),
    ("/expires_at", "9999-12-31T23:59:59-12:00", "/expires_at"),
    ("/variables", {"amount": 1e999}, "/variables"),
    ("/variables", {"amount": 2**64}, "/variables"),
    ("/variables", {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}, "/variables"),
    ("/metadata", {"note": "\x00"}, "/metadata"),
    ("/metadata", list(range(3)), "/metadata"),
    ("/dedup_key", "", "/dedup_key"),
]


@pytest.mark.parametrize(("path", "value", "expected"), WRONG)
def test_the_pointer_names_the_field_at_fault(path: str, value: Any, expected: str) -> None:
    """A wrong field is refused with its RFC 6901 pointer and a sentence that does not repeat the value."""
    if path == "/borrower/addresses/S~M/S":
        body = request()
        body["borrower"]["addresses"] = {"S~M/S": "x"}
    else:
        body = changed(path, value)
    with pytest.raises(Problem) as caught:
        validated(NotificationIn, body)
    assert caught.value.kind == "invalid_request"
    assert [error.pointer for error in caught.value.errors] == [expected]
    assert caught.value.errors[0].detail


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_what_the_door_lets_in_can_be_kept(value: Any) -> None:
    """Metadata that passes can be fingerprinted and stored; whatever does not pass is a problem, never a crash."""
    body = request(metadata={"value": value})
    try:
        incoming = validated(NotificationIn, body).incoming("", body)
    except Problem as problem:
        pointers = {error.pointer for error in problem.errors}
    else:
        pointers = {"/metadata"}
        assert fingerprint(incoming.raw)
        assert encode(incoming.metadata)
        assert "\\u0000" not in json.dumps(incoming.metadata, allow_nan=False)
    assert pointers == {"/metadata"}


def test_errors_never_repeat_the_value() -> None:
    """Names, numbers and addresses that are refused do not come back in the answer."""
    secret = "+12025550123-Chen-Mei"
    body = changed("/borrower/locale", secret)
    body["borrower"].update(time_zones=[secret, 7], jurisdiction=secret, audience=secret, id=f"{secret}/")
    body.update(category=secret, send_at=secret, dedup_key=f"{secret}\n", template=f"{secret} {secret}")
    body["case"]["due_date"] = secret
    body["route"] = [{"channel": secret, "wait": secret, "until": secret}]
    with pytest.raises(Problem) as caught:
        validated(NotificationIn, body)
    assert len(caught.value.errors) >= 10
    assert secret not in json.dumps(caught.value.document())


def test_only_a_batch_item_carries_its_own_key() -> None:
    """A single request has its key in the header; in the body it is an unknown field."""
    body = request(idempotency_key="k-1")
    assert validated(BatchItemIn, body).idempotency_key == "k-1"
    with pytest.raises(Problem) as caught:
        validated(NotificationIn, body)
    assert [error.pointer for error in caught.value.errors] == ["/idempotency_key"]


def test_pointers_are_escaped() -> None:
    """RFC 6901 section 3: ~ is ~0 and / is ~1."""
    assert pointer(("a/b", "m~n", 0, "[key]")) == "/a~1b/m~0n/0"
    assert pointer(()) == ""


def test_every_refusal_has_a_problem_type() -> None:
    """The reasons that the accept stage gives are problem types, and so are the metric's labels."""
    words = {"invalid_request", "invalid_variables", "unknown_template", "malformed_json", "too_large"}
    assert words <= set(KINDS)
    assert words <= {str(each) for each in RefusedReason}
    assert all(kind.title and kind.remedy and 400 <= kind.status < 600 for kind in KINDS.values())
