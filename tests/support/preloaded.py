"""What the server of forked processes has imported and worked out, so that none of its processes has to.

Only what a process keeps by itself: modules, the policy packs' schema, compiled expressions in the cache of ``re``.
"""

from __future__ import annotations

import holidays.countries
import psycopg
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
from gateway.policy import load_packs
from tests.support.replies import POLICIES

__all__ = ["channels", "gateway", "holidays", "psycopg", "uvicorn", "uvloop"]

registry.discover()
load_packs(POLICIES)
