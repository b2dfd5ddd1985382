"""What can go wrong with a call."""

from __future__ import annotations

from .models import ProblemOut


class GatewayError(Exception):
    """The base of the client's errors."""


class NotReached(GatewayError):
    """The gateway didn't answer, or not as the API does. Whether it did what was asked is not known."""


class ProblemError(GatewayError):
    """The gateway refused (RFC 9457). ``problem.errors`` points at each wrong field."""

    def __init__(self, problem: ProblemOut, retry_after: float | None = None) -> None:
        fields = "; ".join(f"{each.pointer} {each.detail}" for each in problem.errors)
        super().__init__(f"{problem.status} {problem.title}: {fields or problem.detail}")
        self.problem = problem
        self.retry_after = retry_after

    @property
    def kind(self) -> str:
        """The problem's type, such as ``unknown_template``."""
        return self.problem.type.rpartition("/")[2]
