"""The closed lists that only metrics need; the rest are enums of gateway.core and channels.base."""

from __future__ import annotations

from enum import StrEnum

OTHER = "other"


class AcceptOutcome(StrEnum):
    """What became of a request that was well-formed."""

    CREATED = "created"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"


class RefusedReason(StrEnum):
    """Why a request was not taken: the last word of the problem's type."""

    INVALID_REQUEST = "invalid_request"
    INVALID_VARIABLES = "invalid_variables"
    UNKNOWN_TEMPLATE = "unknown_template"
    MALFORMED_JSON = "malformed_json"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class DecidedWhen(StrEnum):
    """The two moments at which the policy is asked."""

    ACCEPT = "accept"
    HANDOFF = "handoff"


class AttemptOutcome(StrEnum):
    """The ways in which one call to a provider ends; channels.base draws the tree."""

    ACCEPTED = "accepted"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"


class ReceiptResult(StrEnum):
    """What a receipt did to its delivery."""

    MOVED = "moved"
    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    ORPHAN = "orphan"
    INVALID = "invalid"


class CallbackRefusal(StrEnum):
    """Why a provider's callback could not be taken."""

    BAD_SIGNATURE = "bad_signature"
    MALFORMED = "malformed"


class LedgerOperation(StrEnum):
    """The ledger's doors: one transaction each."""

    FACTS = "facts"
    ACCEPT = "accept"
    CLAIM = "claim"
    START = "start"
    APPLY = "apply"
    SETTLE = "settle"
    RECEIVE = "receive"
    DUE = "due"
    ADMIN = "admin"


class BatchStage(StrEnum):
    """Where work is handled in batches."""

    ACCEPT = "accept"
    DISPATCH = "dispatch"
    SETTLE = "settle"


class AcceptOperation(StrEnum):
    """The two ways to hand a request over."""

    SINGLE = "single"
    BATCH = "batch"


class OptOutSource(StrEnum):
    """Who brought us a borrower's word."""

    LENDER = "lender"
    REPLY = "reply"
    PROVIDER = "provider"


class Dependency(StrEnum):
    """What a process needs, in the words of /readyz."""

    LEDGER = "ledger"
    MIGRATIONS = "migrations"
    REDIS = "redis"
    TEMPLATES = "templates"
