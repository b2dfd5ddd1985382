"""Counts the messages that the simulated providers have received, and the duplicates among them.

Owns the definition of a duplicate from the borrower's point of view. Must not know SMS or e-mail.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO


class Received:
    """Counts messages by delivery. Not durable against a crash of the simulator's process.

    A *duplicate* is a message for a delivery of which an earlier message did or still may reach the borrower.
    A *retry* is one whose every predecessor was reported as not delivered before it came.
    With ``path`` each event is stored as a line of a file (``+ key`` received, ``- key`` failed) for later runs;
    ``messages`` and the other figures count this run only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.messages = 0
        self.duplicates = 0
        self.retries = 0
        self._open: dict[str, int] = {}  # delivery → number of messages that reached or may reach the borrower
        self._seen: set[str] = set()
        self._file: IO[str] | None = None
        if path is not None:
            if path.exists():
                for line in path.read_text("utf-8").splitlines():
                    self._apply(line[:1], line[2:])
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)

    def came(self, key: str) -> bool:
        """Count a message of the delivery ``key``. Returns whether it is a duplicate."""
        duplicate = self._open.get(key, 0) > 0
        self.messages += 1
        self.duplicates += duplicate
        self.retries += not duplicate and key in self._seen
        self._note("+", key)
        return duplicate

    def failed(self, key: str) -> None:
        """Record that one message of the delivery was not delivered."""
        self._note("-", key)

    def summary(self) -> dict[str, int]:
        """The figures of this run."""
        return {"messages": self.messages, "duplicates": self.duplicates, "retries": self.retries}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _note(self, sign: str, key: str) -> None:
        self._apply(sign, key)
        if self._file is not None:
            self._file.write(f"{sign} {key}\n")

    def _apply(self, sign: str, key: str) -> None:
        if sign == "+":
            self._seen.add(key)
        self._open[key] = self._open.get(key, 0) + (1 if sign == "+" else -1)


def delivery_of(reference: str) -> str:
    """The delivery id in a reference ``<delivery id>.<attempt>.<signature>``; others are returned unchanged."""
    parts = reference.rsplit(".", 2)
    return parts[0] if len(parts) == 3 else reference
