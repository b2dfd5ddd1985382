"""Letters, spooled for a print house: how a third party adds a channel."""

from example_channel.letter import LetterChannel

CHANNEL = LetterChannel()
