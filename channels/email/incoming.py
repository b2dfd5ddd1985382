"""Mail that comes back: which addresses take it, and the receipts and replies that one mail is.

Owns telling reports from replies, and what of a report a person reads where it can't be verified. Must not know how the
mail came here. A mail is foreign data: see ``channels.email.parsing``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from channels.base import MalformedCallback, OriginalReport, ProviderReason, Receipt, ReceiptStatus, Reply
from channels.email.parsing import TooComplex, parse
from channels.email.replies import MailReply, read_reply, readable
from channels.email.reports import NoReport, Report, read_reports, replied_to, returned_to
from channels.outcomes import OutcomeTable

_ACTIONS: Mapping[str, ReceiptStatus | None] = {
    "delivered": ReceiptStatus.DELIVERED,
    "relayed": ReceiptStatus.RELAYED,  # RFC 3464 section 2.3.3: no confirmation of a delivery is to be expected
    "expanded": ReceiptStatus.RELAYED,
    "failed": ReceiptStatus.UNDELIVERED,
    "delayed": None,  # the relay goes on trying: nothing has changed
    "complained": ReceiptStatus.COMPLAINED,
}


class MailReader:
    """Reads what comes to one provider's addresses."""

    def __init__(self, provider: str, domain: str, complaints: str, table: OutcomeTable) -> None:
        """``domain`` is that of the return path; ``complaints`` the address of complaints, in lower case, or ""."""
        self._provider = provider
        self._domain = domain
        self._complaints = complaints
        self._table = table

    def takes(self, recipient: str) -> bool:
        """Whether mail to this address is for us; its signature is checked later."""
        ours = returned_to(recipient, self._domain) or replied_to(recipient, self._domain)
        return recipient.lower() == self._complaints or ours != ""

    def read(self, recipient: str, raw: bytes, null_sender: bool) -> tuple[Sequence[Receipt], Sequence[Reply]]:
        """A report to the return path, or a person's words: to the reply address, or in some programs to the former.

        Raises MalformedCallback.
        """
        reference = replied_to(recipient, self._domain)
        receipts: Sequence[Receipt] = ()
        if not reference:
            receipts = self.receipts(raw, recipient)
            reference = returned_to(recipient, self._domain)
        if receipts or not reference:
            return receipts, ()
        try:
            return (), self._replies(read_reply(raw, self._domain, reference, null_sender=null_sender))
        except TooComplex as limit:
            raise MalformedCallback(f"limit of {limit}") from None

    def receipts(self, raw: bytes, sent_to: str = "") -> list[Receipt]:
        """What a report says; ``sent_to`` is its recipient, where that is known. Raises MalformedCallback."""
        try:
            reports = read_reports(raw, self._domain, sent_to, self._complaints)
            original = OriginalReport(raw, readable(parse(raw))) if reports else None
        except NoReport as error:
            raise MalformedCallback(str(error)) from None
        except TooComplex as limit:
            raise MalformedCallback(f"limit of {limit}") from None
        receipts = []
        for report in reports:
            if report.action not in _ACTIONS:
                raise MalformedCallback("Action")
            if status := _ACTIONS[report.action]:
                receipts.append(self._receipt(status, report, original))
        return receipts

    def replies(self, raw: bytes) -> list[Reply]:
        """What a person wrote to a reply address that the mail itself names. Raises MalformedCallback."""
        try:
            return self._replies(read_reply(raw, self._domain))
        except TooComplex as limit:
            raise MalformedCallback(f"limit of {limit}") from None

    def _replies(self, found: MailReply | None) -> list[Reply]:
        if found is None:
            return []
        return [Reply(self._provider, found.key, "", found.text.replace("\0", ""), reference=found.reference)]

    def _receipt(self, status: ReceiptStatus, report: Report, original: OriginalReport | None) -> Receipt:
        reason: ProviderReason | None = None
        if status is ReceiptStatus.UNDELIVERED:
            reason = self._table.find(report.status, report.reply).reason
        elif status is ReceiptStatus.DELIVERED:
            reason = ProviderReason.DELIVERED
        code = report.status or report.reply
        # Anybody who has seen one of our mails knows how a Message-ID looks: only the signed reference names a message.
        return Receipt(self._provider, status, "", report.reference, reason, code, original=original)
