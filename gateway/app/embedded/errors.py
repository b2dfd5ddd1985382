"""The error of a process that can't start."""

from __future__ import annotations


class CannotStart(Exception):
    """The environment prevents a start. The message is one line for the terminal, with the remedy."""
