"""All settings, in one place: environment variables with the prefix GATEWAY_, or the command line.

Secrets are ``SecretStr`` and may come from a file: ``GATEWAY_SECRET_KEY_FILE`` for ``GATEWAY_SECRET_KEY``.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.conversations.assistant_settings import AssistantSettings
from gateway.conversations.reply_model import ReplyModelSettings
from gateway.core.security.private_files import private_directory
from gateway.identity.oidc import OidcSettings
from gateway.identity.quotas import TenantQuota

_METRICS_PORT = 9100  # what the shipped deployment files had for workers before; our choice


class Settings(BaseSettings):
    """What an operator can set. Every default is safe for the embedded mode on one machine."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", extra="ignore")

    database_url: str = ""  # empty: the embedded SQLite under DATA_DIR
    redis_url: str = ""  # empty: the embedded Valkey under DATA_DIR
    data_dir: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""  # as providers and browsers reach us; part of every callback signature
    # Where a process serves /metrics, /healthz and /readyz, beside the API's port. Unset: 9100, as in the shipped
    # deployment files, and with the embedded default a free port of loopback. 0: nowhere.
    metrics_port: int | None = Field(None, ge=0, le=65535)
    api_docs: bool | None = None  # whether /docs and /openapi.json are served; unset: with the embedded default only
    # JSON: ["acme"]; the tenants that metrics tell apart. Each adds some 40 series to every process.
    metrics_tenants: list[str] = Field(default_factory=list, max_length=50)
    build: str = Field("", max_length=40)  # which build this is (a commit, an image's tag), for the status page

    secret_key: SecretStr = SecretStr("")  # keys digests, references, tokens; empty: made under DATA_DIR
    templates_dir: Path | None = None  # empty: the templates that ship with the package
    lender_name: str = "Example Bank"
    lender_phone: str = "+1 202 555 0100"  # a number reserved for fiction
    lender_help_url: str = "https://example.com/help"
    # How long the link of a message opens its reader's pages; our choice: from one reminder to the next, and not for as
    # long as a mailbox is kept. Declining messages by it works for ever.
    message_link_days: int = Field(30, ge=1, le=366)

    # JSON: [{"channel": "sms", "kind": "twilio", "name": "twilio", "options": {...}}]; empty: simulators
    providers: list[dict[str, Any]] = Field(default_factory=list)

    # A font file with Chinese characters, for the PDF of the evidence; unset: one that is installed.
    pdf_font: Path | None = None

    # JSON: {"tw": "0.05 USD", "": "0.04 USD"}: what an SMS segment costs by country, for editors; empty: not shown
    sms_prices: dict[str, str] = Field(default_factory=dict)
    # JSON: {"acme": {"email": ["editor@acme.example"]}}: where a tenant's API keys may have test messages sent
    test_addresses: dict[str, dict[str, list[str]]] = Field(default_factory=dict)

    # The name of an e-mail provider above: mails to the people who write templates go through it; empty: none do
    people_mail_provider: str = ""

    # JSON: {"acme": {"requests_per_second": 50, "notifications_per_day": 100000, "key": {...}}, "": {...}}: quotas of
    # tenants and of each of their API keys; "" is the default. 0: no limit. See ops/operating.md.
    quotas: dict[str, TenantQuota] = Field(default_factory=dict)

    # JSON: {"acme": {"hours": {"en": "Mon to Fri, 09:00 to 18:00"}, "holdout": 0.1, "case_url": "https://…"}}: tenants
    # whose borrowers the assistant answers; none by default. See ops/replies.md.
    assistant: dict[str, AssistantSettings] = Field(default_factory=dict)

    # JSON: {"kind": "openai", "options": {"url": "https://llm.internal/v1", "model": "…", "key_file": "…"}}: a language
    # model that reads what rules and weights did not understand; none by default. See ops/replies.md.
    reply_model: ReplyModelSettings | None = None

    # JSON: {"issuer": "https://login.acme.example", "client_id": …, "client_secret": …, "roles": {"gateway-editors":
    # "editor"}, "tenant": "acme", …}: sign-in by OpenID Connect. See ops/operating.md.
    oidc: OidcSettings | None = None

    webhook_networks: list[str] = Field(
        default_factory=list
    )  # JSON: ["10.1.0.0/16"]; not public, and called all the same
    webhook_seconds: float = 0.5  # how often there is a look for what case systems are to be told

    lease_seconds: float = 60.0  # our choice: above the longest provider timeout (10 s) with room for a batch
    batch_size: int = 200  # deliveries in one job; our choice from measurement, see ops/bench
    relay_seconds: float = 0.5  # how often due and lost work is looked for
    unknown_grace_seconds: float = 30.0  # a callback's chance to settle an unknown outcome before we ask
    receipt_hours: float = 72.0  # Twilio and GOV.UK Notify give up on a handset after 72 h
    releases_per_second: float = Field(50.0, ge=0)  # what waited for the same opening; our choice; 0: all at once
    max_attempts: int = 6  # provider failures before a step is given up; our choice
    max_connections: int = Field(800, ge=10)  # open HTTP connections of one process, streams included; then 503
    max_body_bytes: int = 5_000_000  # a batch of 1,000 requests of 2 kB, doubled
    # How long data are kept after their last change, in days; 0: for ever. Reasons and laws: ops/data-care.md.
    keep_records_days: int = Field(1096, ge=0)  # 12 CFR 1006.100(a): three years after the last collection activity
    keep_contents_days: int = Field(0, ge=0)  # names, addresses, words, of records that stay; 0: they go with these
    keep_feed_days: int = Field(365, ge=0)  # our choice: the same words are in the records
    keep_orphans_days: int = Field(30, ge=0)  # receipts of no message of ours; our choice, above any provider's retries
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"  # INFO: one line for each event
    traces_url: str = ""  # where traces go, OTLP over HTTP: http://collector:4318/v1/traces; empty: none are made
    # Of the notifications; the same in every process, which then trace the same ones.
    traces_ratio: float = Field(1.0, ge=0, le=1)
    time_scale: float = 1.0  # the demo shortens waits; refused outside the embedded default
    at: str = ""  # the demo's clock (RFC 3339); refused outside the embedded default

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, values: Any) -> Any:
        """``GATEWAY_X_FILE`` names a file that holds X, as container platforms mount secrets."""
        for name in ("secret_key", "database_url", "redis_url", "providers", "oidc"):
            path = os.environ.get(f"GATEWAY_{name.upper()}_FILE")
            if path and name not in values:
                text = Path(path).read_text(encoding="utf-8").strip()
                values[name] = json.loads(text) if name in ("providers", "oidc") else text
        return values

    @field_validator("providers")
    @classmethod
    def _providers_have_names(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, entry in enumerate(value):
            missing = {"channel", "kind", "name"} - entry.keys()
            if missing:
                raise ValueError(f"providers[{number}] lacks {', '.join(sorted(missing))}")
        names = [entry["name"] for entry in value]
        if len(set(names)) != len(names):
            raise ValueError("providers: every name must be used once; it is part of callback addresses")
        return value

    @field_validator("sms_prices")
    @classmethod
    def _prices_have_currencies(cls, value: dict[str, str]) -> dict[str, str]:
        for country, price in value.items():
            if not re.fullmatch(r"\d{1,6}(\.\d{1,6})? [A-Z]{3}", price):
                raise ValueError(f"sms_prices[{country!r}] is not an amount and an ISO 4217 currency, like 0.05 USD")
        return value

    @model_validator(mode="after")
    def _demo_only(self) -> Settings:
        if (self.at or self.time_scale != 1.0) and not self.embedded:
            raise ValueError(
                "GATEWAY_AT and GATEWAY_TIME_SCALE move the clock and work with the embedded default only: "
                "unset them, or unset GATEWAY_DATABASE_URL and GATEWAY_REDIS_URL"
            )
        return self

    @property
    def embedded(self) -> bool:
        return not self.database_url and not self.redis_url

    @property
    def release(self) -> str:
        """Which version and build this is: processes tell by it whether others run the same."""
        return " ".join(filter(None, [version("notification-gateway"), self.build]))

    @property
    def shows_api_docs(self) -> bool:
        return self.embedded if self.api_docs is None else self.api_docs

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """The host and port for metrics and probes; port 0: the system picks one. None: they are not served."""
        if self.metrics_port is None:
            return ("127.0.0.1", 0) if self.embedded else (self.host, _METRICS_PORT)
        host = "127.0.0.1" if self.embedded else self.host
        return (host, self.metrics_port) if self.metrics_port else None

    @property
    def effective_public_url(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    def key(self) -> bytes:
        """The secret that keys digests, references and tokens. Made once under DATA_DIR where none is set."""
        given = self.secret_key.get_secret_value()
        if given:
            return given.encode()
        path = self.data_dir / "secret.key"
        if not path.exists():
            private_directory(self.data_dir)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        return path.read_bytes().strip()
