"""The in-app feed."""

from channels.inapp.channel import InappChannel

CHANNEL = InappChannel()
