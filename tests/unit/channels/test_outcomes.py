"""The tables of provider codes: the meaning of important codes, and a default for unknown ones."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from channels.base import PermanentFailure, ProviderReason, TransientFailure, UnknownOutcome
from channels.outcomes import OutcomeClass, OutcomeTable, load_table

ROOT = Path(__file__).parents[3]
TWILIO = load_table("channels.twilio", "codes.toml")
SMTP = load_table("channels.email", "enhanced_codes.toml")
R = ProviderReason


@pytest.mark.parametrize(
    ("table", "code", "status", "kind", "reason"),
    [
        (TWILIO, "20003", "401", "transient", R.PROVIDER_CONFIG),
        (TWILIO, "20429", "429", "transient", R.RATE_LIMITED),
        (TWILIO, "20500", "500", "unknown", R.SERVER_ERROR),
        (TWILIO, "21211", "400", "permanent", R.INVALID_ADDRESS),
        (TWILIO, "21408", "400", "permanent", R.PROVIDER_CONFIG),
        (TWILIO, "21610", "400", "permanent", R.OPTED_OUT_AT_PROVIDER),
        (TWILIO, "21614", "400", "permanent", R.INVALID_ADDRESS),
        (TWILIO, "21617", "400", "permanent", R.CONTENT_REJECTED),
        (TWILIO, "30001", "", "transient", R.RATE_LIMITED),
        (TWILIO, "30003", "", "transient", R.UNREACHABLE),
        (TWILIO, "30004", "", "permanent", R.BLOCKED),
        (TWILIO, "30005", "", "permanent", R.INVALID_ADDRESS),
        (TWILIO, "30007", "", "permanent", R.FILTERED),
        (TWILIO, "30036", "", "permanent", R.TOO_LATE),
        # What Twilio may invent next.
        (TWILIO, "21999", "400", "permanent", R.UNMAPPED),
        (TWILIO, "30999", "", "transient", R.UNMAPPED),
        (TWILIO, "63999", "400", "permanent", R.UNMAPPED),
        (TWILIO, "", "418", "permanent", R.UNMAPPED),
        (TWILIO, "", "502", "unknown", R.SERVER_ERROR),
        (TWILIO, "", "", "unknown", R.UNMAPPED),
        (SMTP, "5.1.1", "550", "permanent", R.INVALID_ADDRESS),
        (SMTP, "4.2.2", "452", "transient", R.MAILBOX_FULL),
        (SMTP, "4.7.1", "451", "transient", R.RATE_LIMITED),
        (SMTP, "5.7.1", "550", "permanent", R.BLOCKED),
        (SMTP, "5.7.8", "535", "transient", R.PROVIDER_CONFIG),
        (SMTP, "5.7.99", "550", "permanent", R.FILTERED),
        (SMTP, "4.99.1", "451", "transient", R.UNMAPPED),
        (SMTP, "", "421", "transient", R.PROVIDER_UNAVAILABLE),
        (SMTP, "", "499", "transient", R.UNMAPPED),
        (SMTP, "", "599", "permanent", R.UNMAPPED),
    ],
)  # fmt: skip
def test_codes(table: OutcomeTable, code: str, status: str, kind: str, reason: ProviderReason) -> None:
    """Each code means what its source says, exact before prefix before status."""
    outcome = table.find(code, status)
    assert (outcome.kind, outcome.reason, outcome.code) == (kind, reason, code or status)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_http_status_has_a_class(status: int) -> None:
    """No answer of Twilio's without a code is left unclassified, and no server error is ever called unsent."""
    outcome = TWILIO.find("", str(status))
    assert (outcome.kind is OutcomeClass.UNKNOWN) == (status >= 500 or status == 408)


@pytest.mark.parametrize("code", range(400, 600))
def test_every_smtp_reply_keeps_the_servers_word(code: int) -> None:
    """A 4xx reply is never permanent; a reply is never an unknown outcome."""
    outcome = SMTP.find("", str(code))
    assert outcome.kind is not OutcomeClass.UNKNOWN
    assert code >= 500 or outcome.kind is OutcomeClass.TRANSIENT


def test_a_temporary_enhanced_code_is_never_permanent() -> None:
    """4.x.x means that the server would take it later."""
    for code, (kind, _) in {**SMTP.codes, **SMTP.prefixes}.items():
        assert not code.startswith("4.") or kind is OutcomeClass.TRANSIENT, code


@pytest.mark.parametrize("path", ["twilio/codes.toml", "email/enhanced_codes.toml"])
def test_every_listed_code_says_what_it_is(path: str) -> None:
    """Who edits a table leaves a note on each code."""
    raw = tomllib.loads((ROOT / "channels" / path).read_text("utf-8"))
    assert all(entry.get("note") for entry in raw["codes"].values())


def test_outcomes_are_raised_as_their_class() -> None:
    """Class and exception agree, with reason, code and the wait."""
    failure = TWILIO.find("20429").failure(2.0)
    assert isinstance(failure, TransientFailure)
    assert (failure.reason, failure.code, failure.retry_after) == (R.RATE_LIMITED, "20429", 2.0)
    assert isinstance(TWILIO.find("21211").failure(), PermanentFailure)
    assert isinstance(TWILIO.find("20500").failure(), UnknownOutcome)


def test_a_wrong_entry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in a table stops the start with file and entry."""
    package = tmp_path / "wrong_tables"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "t.toml").write_text('[codes]\n1 = { class = "temporary", reason = "blocked" }\n', "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"t\.toml: \[codes\] 1: .*temporary"):
        load_table("wrong_tables", "t.toml")
