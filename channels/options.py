"""Building a provider from its configuration: its class, and its options with errors that name what is wrong.

Must not know any provider, nor where the options came from. Values never appear in a message: they may be secrets.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from ipaddress import ip_address
from pkgutil import resolve_name
from typing import Any

from channels.base import Provider

Clock = Callable[[], datetime]


class ProviderOptions:
    """A provider's options, read by type. Raises ValueError naming the provider and the option."""

    def __init__(self, provider: str, values: Mapping[str, Any], known: frozenset[str]) -> None:
        self._provider = provider
        self._values = values
        if unknown := sorted(set(values) - known):
            raise ValueError(f"provider {provider}: unknown option {', '.join(unknown)}")

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required and non-empty where there is no default. Secrets are unwrapped."""
        value = self._values.get(name)
        if value is not None and hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        if value is None or value == "":
            if default is None:
                raise ValueError(f"provider {self._provider}: option {name} is missing")
            return default
        if not isinstance(value, str):
            raise ValueError(f"provider {self._provider}: option {name} must be a string")
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number from ``least`` to ``most``."""
        try:
            value = float(self._values.get(name, default))
        except (TypeError, ValueError):
            raise ValueError(f"provider {self._provider}: option {name} must be a number") from None
        if not least <= value <= most:
            raise ValueError(f"provider {self._provider}: option {name} must be from {least:g} to {most:g}")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        value = self.text(name, default)
        if value not in choices:
            raise ValueError(f"provider {self._provider}: option {name} must be one of {', '.join(choices)}")
        return value


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address; nothing is looked up."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def tls_context(provider: str, ca_file: str) -> ssl.SSLContext:
    """A context that checks certificates, against the system's CAs or those in ``ca_file``. Raises ValueError."""
    if not ca_file:
        return _system_tls_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an SSLError is one
        what = "has no certificate in PEM" if isinstance(error, ssl.SSLError) else f"can't be read: {error.strerror}"
        raise ValueError(f"provider {provider}: option ca_file {what}") from None


@cache  # reading the system's CAs takes 25 ms, for each provider
def _system_tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def build_provider(
    channel: str,
    classes: Mapping[str, str],
    kind: str,
    name: str,
    options: Mapping[str, Any],
    services: Mapping[str, Any],
) -> Provider:
    """The provider ``name`` of ``kind``; ``classes`` has the class of each kind as ``"module:Class"``.

    The module is imported on first use: some client libraries take most of a second, which commands that send nothing
    need not pay. Raises ValueError for an unknown kind, a missing package or a wrong option.
    """
    if kind not in classes:
        raise ValueError(f"provider {name}: {channel} has no provider of kind {kind!r}; it has {', '.join(classes)}")
    try:
        provider: Provider = resolve_name(classes[kind]).from_options(name, options, services)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"provider {name}: the package {error.name} is missing; install the extra {kind} "
            f"(pip install 'notification-gateway[{kind}]')"
        ) from None
    return provider


def service(provider: str, services: Mapping[str, Any], name: str) -> Any:
    """What the composition root lends under ``name``. Raises ValueError naming it where it lends none."""
    if services.get(name) is None:
        raise ValueError(f"provider {provider}: the service {name} is missing")
    return services[name]
