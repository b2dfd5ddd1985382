"""What the server of forked processes has imported and worked out, so that none of its processes has to.

Only what a process keeps by itself: modules, the policy packs' schema, compiled expressions in the cache of ``re``.
"""

from __future__ import annotations

import holidays.countries
import psycopg
import typer.main
import uvicorn.lifespan.off
import uvloop

import channels.email.listener
import channels.email.smtp
import channels.sms.twilio
import gateway.api.app
import gateway.app.http
import gateway.app.serving
import gateway.cli.console
from channels import registry
from gateway.cli import app
from gateway.policy import load_packs
from tests.support.rules.replies import POLICIES

__all__ = ["channels", "command", "gateway", "holidays", "psycopg", "uvicorn", "uvloop"]

command = typer.main.get_command(app)  # what calling ``app`` makes first, each time

registry.discover()
load_packs(POLICIES)
