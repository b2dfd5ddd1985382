"""E-mail."""

from channels.email.channel import EmailChannel

CHANNEL = EmailChannel()
