"""``python -m gateway.cli`` is ``gateway``."""

from gateway.cli import app

app()
