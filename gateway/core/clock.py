"""The clock as every part takes it: called for the time, UTC and aware."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
