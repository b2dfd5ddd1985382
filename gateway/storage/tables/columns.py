"""The types of columns, and the metadata with which every table registers itself.

Instants are stored as whole microseconds since 1970 in UTC (a BIGINT): exact, ordered and the same on SQLite and
PostgreSQL. ``Instant`` turns them into aware datetimes on the way out.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    MetaData,
    String,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_MICROSECOND = timedelta(microseconds=1)


def microseconds(value: datetime) -> int:
    """An instant as it is stored."""
    return (value - _EPOCH) // _MICROSECOND


def instant_of(stored: int) -> datetime:
    """What is stored, as an aware datetime."""
    return _EPOCH + timedelta(microseconds=stored)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else instant_of(value)


_DIGEST_TEXT = 43  # characters of a SHA-256 in base64url


def shorter(digest: str) -> str:
    """A digest in hexadecimal as base64url without padding (RFC 4648, section 5)."""
    return urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()


class HexDigest(TypeDecorator[str]):
    """A SHA-256 in hexadecimal, stored as base64url or, by earlier versions, as it is."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        if value is None or len(value) != _DIGEST_TEXT:
            return None if value is None else str(value)
        return urlsafe_b64decode(f"{value}=").hex()


metadata = MetaData()
