"""Mails as relays and mailbox providers send them back."""

from __future__ import annotations

from channels.email.sink import Mail

TO = "chen@example.com"
REFERENCE = f"dlv_{1:032x}.1.{'ab' * 12}"
MAIL = Mail("dlv_1@lender.example", f"{REFERENCE}@lender.example", TO, b"")

OWN_WORDS = """From: MAILER-DAEMON@odd.example
To: {to}
Subject: failure notice
MIME-Version: 1.0
Content-Type: text/plain

Hi. This is the qmail-send program at odd.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<borrower@odd.example>:
Sorry, no mailbox here by that name. (#5.1.1)
"""

COMPLAINT = """From: feedback@mailbox.example
To: abuse@lender.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="=_b"

--=_b
Content-Type: text/plain

This is a complaint.
--=_b
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Mailbox/1
Version: 1
{field}

--=_b
Content-Type: text/rfc822-headers

{original}

--=_b--
"""
