"""One call of the API, and whether it may be repeated."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

_KEY = "Idempotency-Key"
_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})  # RFC 9110 section 9.2.2
# Nothing was taken or stored: the quota is exceeded, or the ledger is unavailable.
_NOTHING_DONE = frozenset({429, 503})
_MAY_BE_DONE = frozenset({500, 502, 504})


@dataclass(frozen=True)
class Call:
    """A request. ``path`` has one item for each segment, not yet quoted."""

    method: str
    path: tuple[str, ...]
    body: BaseModel | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)

    def with_key(self) -> Call:
        """The call with an idempotency key of its own, where it takes one and has none."""
        if _KEY not in self.headers or self.headers[_KEY]:
            return self
        return replace(self, headers={**self.headers, _KEY: str(uuid.uuid4())})

    def repeatable(self, status: int | None) -> bool:
        """Whether to try again after this status, or after no answer at all (None)."""
        if status in _NOTHING_DONE:
            return True
        safe = self.method in _IDEMPOTENT or bool(self.headers.get(_KEY))
        return safe and (status is None or status in _MAY_BE_DONE)

    def options(self) -> dict[str, Any]:
        """As httpx takes it."""
        found: dict[str, Any] = {
            "method": self.method,
            "url": "/" + "/".join(quote(each, safe="") for each in self.path),
            "params": {name: _text(value) for name, value in self.query.items() if value is not None},
            "headers": {name: value for name, value in self.headers.items() if value is not None},
        }
        if self.body is not None:
            found["content"] = self.body.model_dump_json(by_alias=True, exclude_unset=True)
            found["headers"]["Content-Type"] = "application/json"
        return found


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
