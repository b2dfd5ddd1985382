"""The command line: ``gateway``."""

from gateway.cli.commands import app

__all__ = ["app"]
