"""Label values that only metrics use; the other lists are enums of gateway.core and channels.base."""

from __future__ import annotations

from enum import StrEnum

OTHER = "other"


class AcceptOutcome(StrEnum):
    """Outcome of a valid request."""

    CREATED = "created"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"


class RefusedReason(StrEnum):
    """Why a request was rejected: the last part of the problem's type URI."""

    INVALID_REQUEST = "invalid_request"
    INVALID_VARIABLES = "invalid_variables"
    UNKNOWN_TEMPLATE = "unknown_template"
    MALFORMED_JSON = "malformed_json"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    QUOTA_EXCEEDED = "quota_exceeded"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class DecidedWhen(StrEnum):
    """The two moments at which the contact policy is evaluated."""

    ACCEPT = "accept"
    HANDOFF = "handoff"


class AttemptOutcome(StrEnum):
    """Outcome of one call to a provider; channels.base has the exception tree."""

    ACCEPTED = "accepted"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"


class ReceiptResult(StrEnum):
    """Effect of a receipt on its delivery."""

    MOVED = "moved"
    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    ORPHAN = "orphan"
    UNVERIFIED = "unverified"
    FOR_REVIEW = "for_review"
    INVALID = "invalid"


class CallbackRefusal(StrEnum):
    """Why a provider's callback was rejected."""

    BAD_SIGNATURE = "bad_signature"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    QUEUE_FULL = "queue_full"
    UNVERIFIED_REFERENCE = "unverified_reference"


class LedgerOperation(StrEnum):
    """Operations of the ledger, one transaction each."""

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
    """Stages that process batches."""

    ACCEPT = "accept"
    DISPATCH = "dispatch"
    SETTLE = "settle"


class AcceptOperation(StrEnum):
    """The two accept operations of the API."""

    SINGLE = "single"
    BATCH = "batch"


class OptOutSource(StrEnum):
    """Where an opt-out came from."""

    LENDER = "lender"
    REPLY = "reply"
    PROVIDER = "provider"


class Dependency(StrEnum):
    """Dependencies of a process, named as in /readyz."""

    LEDGER = "ledger"
    MIGRATIONS = "migrations"
    REDIS = "redis"
    TEMPLATES = "templates"
