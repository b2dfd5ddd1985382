"""RCS."""

from channels.rcs.channel import RcsChannel

CHANNEL = RcsChannel()
