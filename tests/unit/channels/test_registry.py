"""Discovery of installed channels; a broken one is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from channels.base import Channel
from channels.registry import GROUP, PluginError, load
from channels.sms import CHANNEL as SMS
from tests.support.providers.installed_channel import install, install_example
from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).parents[3]


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


_USE = """
import asyncio, json, sys
from datetime import UTC, datetime
from channels.base import Content, Message
from channels.registry import discover
channels = discover()
provider = channels["letter"].build("spool", "print-house", {"directory": sys.argv[1]}, {})
message = Message("dlv_1", 1, "bank", "B-1", channels["letter"].normalise(" Chen Mei\\n\\n1 Road "),
                  Content("text", "subject"), "dlv_1.1.x", "", None, "collections")
asyncio.run(provider.send(message))
print(json.dumps(list(channels)))
"""


def test_an_installed_package_adds_a_channel(tmp_path: Path) -> None:
    """Installing a package is all it takes: its channel is listed beside our own, and sends."""
    site, spool = tmp_path / "site", tmp_path / "spool"
    spool.mkdir()
    install(ROOT / "pyproject.toml", site)
    install_example(site)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    run = subprocess.run(
        [sys.executable, "-c", _USE, str(spool)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][GROUP]
    assert json.loads(run.stdout) == sorted([*ours, "letter"])
    letter = json.loads((spool / "dlv_1.json").read_text("utf-8"))
    assert letter == {"address": "Chen Mei\n1 Road", "subject": "subject", "text": "text"}


def test_our_own_channels_load_in_the_order_of_their_names() -> None:
    """The order does not depend on how the packages lie on disk."""
    points = [_point(name, f"channels.{name}:CHANNEL") for name in ("sms", "inapp", "email")]
    assert list(load(points)) == list(load(reversed(points))) == ["email", "inapp", "sms"]


def test_two_packages_with_one_name_are_refused() -> None:
    """Which of two wins must not depend on luck; both are named."""
    with pytest.raises(PluginError, match=r"'sms'.*twice.*channels\.email.*channels\.sms"):
        load([_point("sms", "channels.sms:CHANNEL"), _point("sms", "channels.email:CHANNEL")])


def test_one_package_seen_twice_is_one() -> None:
    """An editable install beside its source is no clash."""
    assert list(load([_point("sms", "channels.sms:CHANNEL")] * 2)) == ["sms"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("fax", "no_such_package:CHANNEL", r"'fax'.*no_such_package.*ModuleNotFoundError"),
        ("fax", "channels.sms:NOTHING", r"'fax'.*AttributeError"),
        ("fax", "channels.base:Message", r"'fax'.*no channel|'fax'.*has no"),
        ("fax", "channels.sms:CHANNEL", r"'fax'.*calls itself 'sms'"),
    ],
)
def test_a_broken_plugin_stops_the_start_and_is_named(name: str, value: str, said: str) -> None:
    """A channel that silently vanished would drop its reminders."""
    with pytest.raises(PluginError, match=said):
        load([_point(name, value)])


def test_the_project_declares_the_channels_that_it_ships() -> None:
    """pyproject.toml and the packages under channels/ agree; a package may have more than one channel."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][GROUP]
    folders = {path.parent.name for path in (ROOT / "channels").glob("*/channel.py")}
    assert {value.partition(":")[0].removeprefix("channels.") for value in declared.values()} == folders
    channels: dict[str, Channel] = dict(load([_point(*item) for item in declared.items()]))
    assert all(channels[name].name == name for name in declared)


def test_a_provider_without_its_package_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client library is an extra; without it the start ends with what to install, and not with a traceback."""
    monkeypatch.delitem(sys.modules, "channels.sms.smpp", raising=False)
    monkeypatch.setitem(sys.modules, "smpp34", None)
    with pytest.raises(ValueError, match=r"provider smsc: the package smpp34 is missing; install the extra smpp"):
        SMS.build("smpp", "smsc", {}, {})
