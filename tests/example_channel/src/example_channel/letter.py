"""A channel and its one provider. Knows only ``channels.base`` and ``channels.profile``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from channels.base import (
    FOR_EVER,
    Accepted,
    BadSignature,
    CallbackRequest,
    Capability,
    InvalidAddress,
    LookupAnswer,
    LookupResult,
    Message,
    Provider,
    ProviderReason,
    Receipt,
    TransientFailure,
)
from channels.content import Content
from channels.profile import ChannelProfile, Frame, Part, TextIssue, Wording

_LONGEST_LINE = 90  # characters; what fits beside the margins of a page of A4


def _check(content: Content) -> Sequence[TextIssue]:
    """A line that is too long would be cut at the margin by the print house."""
    if all(len(line) <= _LONGEST_LINE for line in content.text.splitlines()):
        return ()
    detail = Wording("has a line that is too long for the page", "有一行超出页面宽度")
    return (TextIssue("warning", "letter_line", detail, Wording("Break the line.", "请换行。")),)


PROFILE = ChannelProfile(
    title=Wording("Letter", "信函"),
    noun=Wording("the letter", "信函"),
    parts=(
        Part("letter.subject.liquid", "subject", Wording("Subject line", "标题"), blank="{{ lender.name }}\n"),
        Part("letter.txt.liquid", "text", Wording("Text", "正文"), blank="{{ borrower.name }},\n\n{{ lender.name }}\n"),
    ),
    frame=Frame.PAGE,
    check=_check,
)


class LetterChannel:
    """Letters to a postal address."""

    name = "letter"
    kinds: tuple[str, ...] = ("spool",)
    profile = PROFILE

    def normalise(self, address: str) -> str:
        """The address with one line break between its lines. Raises InvalidAddress below two lines."""
        lines = [line.strip() for line in address.splitlines() if line.strip()]
        if len(lines) < 2:
            raise InvalidAddress("needs a name and at least one line")
        return "\n".join(lines)

    def build(self, kind: str, name: str, options: Mapping[str, Any], services: Mapping[str, Any]) -> Provider:
        """A spool in the option ``directory``."""
        if "directory" not in options:
            raise ValueError(f"provider {name}: option directory is missing")
        return SpoolProvider(name, Path(options["directory"]))


class SpoolProvider:
    """One file for each delivery; writing it again has no effect."""

    channel = "letter"
    capability = Capability(idempotent_for=FOR_EVER, looks_up=True, concurrency=4)

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory

    async def send(self, message: Message) -> Accepted:
        """Write the file."""
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise TransientFailure(ProviderReason.PROVIDER_UNAVAILABLE, type(error).__name__) from None
        return Accepted(message.delivery_id, receipt_expected=False)

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """A file that is there was written."""
        there = await asyncio.to_thread(self._path(message).exists)
        return LookupAnswer(LookupResult.FOUND if there else LookupResult.ABSENT)

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Print houses don't call back."""
        raise BadSignature("letters have no callbacks")

    async def close(self) -> None:
        """Nothing is open."""

    def _path(self, message: Message) -> Path:
        return self._directory / f"{message.delivery_id}.json"

    def _write(self, message: Message) -> None:
        letter = {"address": message.address, "subject": message.content.subject, "text": message.content.text}
        partial = self._path(message).with_suffix(".part")
        partial.write_text(json.dumps(letter, ensure_ascii=False), encoding="utf-8")
        partial.replace(self._path(message))
