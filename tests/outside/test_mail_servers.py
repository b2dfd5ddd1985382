"""A whole gateway with Postfix, Exim and OpenSMTPD as its relay and as the receiver of what comes back.

The servers have the configuration that ops/deploy/mail.md shows. A third server is the borrowers' mailbox provider.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import pytest_asyncio

from channels.base import Listens
from channels.email.reports import reply_address, return_path
from channels.email.sink import SmtpSink
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway, open_gateway
from gateway.app.settings import Settings
from tests.support.api_gateway import request
from tests.support.production import free_port
from tests.support.providers.fake_servers import clock
from tests.support.providers.mail_servers import DOMAIN, GREY, UNKNOWN, MailServer, mail_server
from tests.support.providers.mails import COMPLAINT
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.tried import Tried
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLAINTS = f"complaints@{DOMAIN}"
SENDER_DOMAIN = "lender.example"
NUMBERS = count(1)
# Refusals of mailbox providers, by the recipient's local part.
REFUSALS = {
    "bounced": "550 5.1.1 no such mailbox",
    "old": "550 No such user here",  # without an enhanced code: a server before RFC 2034
    "spam": "554 5.7.1 Message refused as spam",
    "收件人": "550 5.1.1 no such mailbox",
}


class Mailboxes(SmtpSink):
    """A mailbox provider without DSN: the relay reports itself."""

    def refuse(self, recipient: str) -> str | None:
        return REFUSALS.get(recipient.partition("@")[0].rstrip("0123456789"))


@dataclass(frozen=True, slots=True)
class MailScene:
    """What runs for the tests of this file, with one of the mail servers."""

    gateway: Gateway
    server: MailServer
    mailboxes: Mailboxes

    @property
    def name(self) -> str:
        return f"{self.server.name} {self.server.version}"

    async def remind(self, address: str) -> dict[str, Any]:
        """The delivery of a reminder that was sent to this address."""
        return await reminded(self.gateway, address)

    async def until(self, delivery: dict[str, Any], state: str) -> dict[str, Any]:
        return await until(self.gateway, delivery, state)

    def reference(self, delivery: dict[str, Any]) -> str:
        return self.gateway.ledger.signer.reference(delivery["id"], 1)

    async def write(self, recipient: str, raw: str, sender: str) -> None:
        """A mail from outside, to the server that receives for the gateway."""
        await asyncio.to_thread(self._write, recipient, raw, sender)

    def _write(self, recipient: str, raw: str, sender: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.closed_port) as client:
            client.sendmail(sender, [recipient], raw.replace("\n", "\r\n").encode())

    async def opt_outs(self, borrower: str) -> list[str]:
        found = await self.gateway.ledger.reads.borrower("acme", borrower) or {}
        return [each["source"] for each in found.get("opt_outs", ())]


async def reminded(gateway: Gateway, address: str, **borrower: Any) -> dict[str, Any]:
    body = request(next(NUMBERS), route=["email"])
    body["borrower"] |= borrower
    body["borrower"]["addresses"]["email"] = address
    pipeline = gateway.path.pipeline
    [answer] = await pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
    assert answer.state == "accepted", answer.reason
    await pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
    return await found(gateway, answer.id) | {"notification": answer.id, "borrower": body["borrower"]["id"]}


async def found(gateway: Gateway, notification_id: str) -> dict[str, Any]:
    notification = await gateway.ledger.reads.notification("acme", notification_id)
    assert notification is not None
    return dict(notification["deliveries"][0])


async def until(gateway: Gateway, delivery: dict[str, Any], state: str) -> dict[str, Any]:
    async def arrived() -> dict[str, Any] | None:
        now = await found(gateway, delivery["notification"])
        return now if now["state"] == state else None

    return await eventually(arrived)


@asynccontextmanager
async def sending(port: int, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway whose relay is there, and that listens where ``listen_port`` says so."""
    common = {"host": "127.0.0.1", "port": port, "tls": "none", "domain": "lender.example"}
    common |= {"from_address": "reminders@lender.example", "return_path_domain": DOMAIN}
    entry = {"channel": "email", "kind": "smtp", "name": "mail", "options": common | options}
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    begun(empty_sqlite(folder))
    stop = asyncio.Event()
    try:
        chosen = Settings(data_dir=folder, at="2026-11-24T10:00:00+08:00", providers=[entry])
        async with open_gateway(chosen) as gateway:
            await gateway.ledger.keys.create("acme", "test", ["send"], gateway.ledger.clock())
            provider = gateway.providers.by_name["mail"]
            assert isinstance(provider, Listens)
            heard = partial(gateway.path.receiver.handle_provider_push, "mail")
            listening = asyncio.create_task(provider.listen(heard, stop))
            yield gateway
            stop.set()
            await listening
    finally:
        rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["postfix", "exim", "opensmtpd"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[MailScene]:
    """One start of everything for all tests of a server, which leave nothing behind that others look at."""
    mailboxes = Mailboxes(clock, offer_dsn=False)
    await mailboxes.start()
    listener = free_port()
    servers = ExitStack()
    try:
        server = await asyncio.to_thread(servers.enter_context, mail_server(request.param, listener, mailboxes.port))
        options = {"listen_port": listener, "listen_protocol": "lmtp", "complaints_address": COMPLAINTS}
        async with sending(server.port, **options) as gateway:
            yield MailScene(gateway, server, mailboxes)
    finally:
        await asyncio.to_thread(servers.close)
        await mailboxes.stop()


async def log_of(scene: MailScene, recipient: str) -> str:
    """What the server logged last of the recipient: its words, without ids, times and addresses."""
    line = await eventually(lambda: scene.server.said(recipient))
    words = r"status=.*|result=.*|(?:temporarily )?rejected RCPT.*|\d{3} \d\.\d\.\d .*|SMTP error.*|C=.*"
    said = re.search(words, line)
    plain = re.sub(
        r"<?\S+@[^\s>]+>?:? ?|; from=.*|(?:host )?127\.0\.0\.1\[127\.0\.0\.1\] ", "", said[0] if said else line
    )
    return plain.replace(" (in reply to RCPT TO command)", "")


async def test_a_report_of_success_comes_back(scene: MailScene, tried: Tried) -> None:
    """The mailbox provider takes the mail; the relay reports "relayed" to our return path, by LMTP."""
    address = f"borrower{next(NUMBERS)}@mailbox.example"
    delivery = await scene.remind(address)
    mail = await eventually(lambda: [each for each in scene.mailboxes.mails if each.recipient == address])
    assert mail[0].sender == return_path(scene.reference(delivery), DOMAIN)

    async def reported() -> bool:
        notification = await scene.gateway.ledger.reads.notification("acme", delivery["notification"])
        return any(event["kind"] == "receipt" for event in (notification or {})["events"])

    await eventually(reported)
    at_end = await found(scene.gateway, delivery["notification"])
    tried(scene.name, "a reminder with DSN", at_end["state"], at_end["reason"], "the mailbox has the mail")


@pytest.mark.parametrize(
    ("local", "reason"),
    [
        ("bounced", "invalid_address"),
        ("old", "invalid_address"),
        ("spam", "blocked"),
        ("收件人", "invalid_address"),
    ],
)
async def test_a_bounce_ends_the_delivery(scene: MailScene, tried: Tried, local: str, reason: str) -> None:
    """The mailbox provider refuses what the relay had accepted; the relay's report says why, to our return path."""
    address = f"{local}{next(NUMBERS)}@mailbox.example"
    delivery = await scene.remind(address)
    # What the relay can't take at all is refused before it is sent.
    state = "undelivered" if scene.server.smtputf8 or address.isascii() else "failed"
    ended = await scene.until(delivery, state)
    assert ended["reason"] == reason
    if state == "failed":
        tried(scene.name, f"a reminder to {local}@ (SMTPUTF8)", state, reason, "MAIL without SMTPUTF8: not sent")
        return
    sent = f"a reminder, refused by the mailbox provider: {REFUSALS[local]}"
    tried(
        scene.name,
        sent + ("" if address.isascii() else " (SMTPUTF8)"),
        state,
        reason,
        await log_of(scene, address),
    )


@pytest.mark.parametrize(
    ("address", "state", "reason"), [(GREY, "retrying", "unreachable"), (UNKNOWN, "failed", "invalid_address")]
)
async def test_a_refusal_at_the_relay(scene: MailScene, tried: Tried, address: str, state: str, reason: str) -> None:
    """Greylisting (4.2.0) is tried again; an unknown mailbox (5.1.1) is not."""
    delivery = await scene.remind(address)
    ended = await scene.until(delivery, state)
    assert ended["reason"] == reason
    tried(scene.name, "a reminder, refused at RCPT", state, reason, await log_of(scene, address))


async def test_a_relay_that_does_not_let_us_in_blocks_no_borrower(scene: MailScene, tried: Tried) -> None:
    """It relays for its own networks alone: our configuration, which is tried again once that is mended."""
    async with sending(scene.server.closed_port) as gateway:
        address = f"borrower{next(NUMBERS)}@mailbox.example"
        delivery = await reminded(gateway, address)
        ended = await until(gateway, delivery, "retrying")
        assert ended["reason"] == "provider_config"
        tried(scene.name, "a reminder, relaying denied", "retrying", "provider_config", await log_of(scene, address))


async def test_a_stop_by_mail_comes_through(scene: MailScene, tried: Tried) -> None:
    """A reply to our Reply-To reaches the listener; from then on nothing is sent to the address."""
    delivery = await scene.remind(f"borrower{next(NUMBERS)}@mailbox.example")
    to = reply_address(scene.reference(delivery), DOMAIN)
    await scene.write(to, f"To: {to}\nFrom: b@mailbox.example\nMessage-ID: <1@m>\n\nSTOP\n", "b@mailbox.example")
    assert await eventually(lambda: scene.opt_outs(delivery["borrower"])) == ["reply"]
    tried(scene.name, "a reply: STOP", "address opted out", "reply", await log_of(scene, to))


async def test_a_stop_by_mail_is_confirmed_once(scene: MailScene, tried: Tried) -> None:
    """Where the pack wants it: to the address that was written to, whoever From names, and with a null sender."""
    address = f"borrower{next(NUMBERS)}@mailbox.example"
    us = {"jurisdiction": "us", "locale": "en", "time_zones": ["Pacific/Auckland"]}
    delivery = await reminded(scene.gateway, address, **us)
    to = reply_address(scene.reference(delivery), DOMAIN)
    for number in range(2):
        head = f"To: {to}\nFrom: somebody@else.example\nMessage-ID: <{number}@m>\n"
        await scene.write(to, f"{head}\nSTOP\n", "somebody@else.example")
    stored = re.compile(rf"{re.escape(to)}.*250 2\.0\.0 stored")
    await eventually(lambda: len(stored.findall(scene.server.log.read_text())) == 2)
    written = await eventually(lambda: [each for each in scene.mailboxes.mails if b"no more messages" in each.raw])
    assert [(each.recipient, each.sender.strip("<>")) for each in written] == [(address, "")]
    assert b"Auto-Submitted: auto-replied" in written[0].raw
    assert b"Reply-To" not in written[0].raw
    assert await scene.opt_outs(delivery["borrower"]) == ["reply"]
    sent = "a reply: STOP, twice, from a US borrower"
    tried(scene.name, sent, "address opted out", "reply", "one mail that confirms it")


async def test_an_automatic_reply_changes_nothing(scene: MailScene, tried: Tried) -> None:
    """An out-of-office reply that says STOP, to the return path as RFC 3834 has it: taken, and dropped."""
    delivery = await scene.remind(f"borrower{next(NUMBERS)}@mailbox.example")
    to = return_path(scene.reference(delivery), DOMAIN)
    head = f"To: {to}\nFrom: b@mailbox.example\nMessage-ID: <2@m>\nAuto-Submitted: auto-replied\n"
    await scene.write(to, f"{head}\nI am away. STOP\n", "")
    assert await eventually(lambda: scene.server.taken(to))
    assert await scene.opt_outs(delivery["borrower"]) == []
    tried(scene.name, "an out-of-office reply", "unchanged", "", await log_of(scene, to))


async def test_a_complaint_comes_through(scene: MailScene, tried: Tried) -> None:
    """A feedback report to the complaint address, with our return path in it, is an opt-out."""
    delivery = await scene.remind(f"borrower{next(NUMBERS)}@mailbox.example")
    path = return_path(scene.reference(delivery), DOMAIN)
    raw = COMPLAINT.format(kind="abuse", field=f"Original-Mail-From: <{path}>", original="Subject: x")
    await scene.write(COMPLAINTS, raw, "feedback@mailbox.example")
    assert await eventually(lambda: scene.opt_outs(delivery["borrower"])) == ["provider:mail"]
    tried(scene.name, "a complaint (RFC 5965)", "address opted out", "provider:mail", await log_of(scene, COMPLAINTS))


async def test_a_complaint_that_names_nothing_reaches_a_person(scene: MailScene, tried: Tried) -> None:
    """Without a signed reference it opts nobody out: it is in the reviews, and in a mailbox where the server copies."""
    mark = f"made-up-{next(NUMBERS)}"
    raw = COMPLAINT.format(kind="abuse", field="X: y", original=f"Message-ID: <{mark}@lender.example>")
    await scene.write(COMPLAINTS, raw, "feedback@mailbox.example")
    waiting = scene.gateway.operations.reviews.waiting

    async def for_review() -> list[Any]:
        return [each for each in await waiting("acme", "unverified_complaint", 500) if mark in each["text"]]

    [item] = await eventually(for_review)
    assert mark.encode() in (await scene.gateway.operations.reviews.original("acme", item["id"]) or b"")
    person = f"complaints@{SENDER_DOMAIN}"
    if scene.server.copies:
        await eventually(
            lambda: [each for each in scene.mailboxes.mails if each.recipient == person and mark.encode() in each.raw]
        )
    tried(scene.name, "a complaint without a reference", "review", item["reason"], await log_of(scene, COMPLAINTS))


OUTLOOK = """From: staff@hotmail.com
To: {to}
Subject: complaint about message from 192.0.2.1
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_b"

--=_b
Content-Type: message/rfc822
Content-Disposition: attachment

X-HmXmrOriginalRecipient: {recipient}
From: Example Bank <reminders@lender.example>
Subject: Your payment

Hello.
--=_b--
"""


async def test_a_complaint_in_outlooks_form_is_assigned_by_a_person(scene: MailScene, tried: Tried) -> None:
    """Neither a report nor a name of the message: whoever reads it finds the borrower, who is opted out."""
    address = f"borrower{next(NUMBERS)}@mailbox.example"
    delivery = await scene.remind(address)
    reviews = scene.gateway.operations.reviews
    await scene.write(COMPLAINTS, OUTLOOK.format(to=COMPLAINTS, recipient=address), "staff@hotmail.com")

    async def for_review() -> list[Any]:
        return [each for each in await reviews.waiting("acme", "unverified_complaint", 500) if address in each["text"]]

    [item] = await eventually(for_review)
    assert await reviews.refuse("acme", item["id"], "the address is in it", "a person", delivery["borrower"])
    assert await scene.opt_outs(delivery["borrower"]) == ["provider:mail"]
    logged = await log_of(scene, COMPLAINTS)
    sent = "a complaint as Outlook.com writes it, assigned by a person"
    tried(scene.name, sent, "address opted out", "provider:mail", logged)


async def test_other_addresses_are_refused_at_the_door(scene: MailScene, tried: Tried) -> None:
    """What the listener would refuse isn't taken first: no bounces about it to forged senders."""
    to = f"somebody@{DOMAIN}"
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        await scene.write(to, "Subject: x\n\nx\n", "x@else.example")
    tried(scene.name, "mail to an address that is none of ours", "refused", "", await log_of(scene, to))
