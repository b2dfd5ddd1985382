"""Which channels are installed.

Owns the reading of the entry-point group ``gateway.channels``. A third party adds a channel by installing a
package that registers one there. Must not know any concrete channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from channels.base import Channel
from channels.profile import Profiles

GROUP = "gateway.channels"


class PluginError(Exception):
    """An installed channel cannot be used. The message names the entry point and its distribution."""


def discover() -> Mapping[str, Channel]:
    """All installed channels by name, in the order of their names.

    Raises: PluginError for a name registered twice, a plug-in that fails to import, or an object that is no
    channel. One broken plug-in stops the start: a channel that silently vanished would drop its reminders.
    """
    return load(entry_points(group=GROUP))


def profiles(channels: Mapping[str, Channel]) -> Profiles:
    """What the channels declare of themselves, by name."""
    return MappingProxyType({name: each.profile for name, each in channels.items()})


def load(points: Iterable[EntryPoint]) -> Mapping[str, Channel]:
    """The channels behind these entry points; see ``discover``."""
    origin: dict[str, EntryPoint] = {}
    for point in sorted(points, key=lambda each: (each.name, each.value, _distribution(each))):
        if point.name in origin:
            # The same distribution seen twice on sys.path (an editable install beside its source) is no clash.
            if point.value == origin[point.name].value:
                continue
            raise PluginError(
                f"channel {point.name!r} is registered twice: {_name(origin[point.name])} and {_name(point)}"
            )
        origin[point.name] = point
    found = {name: _load(point) for name, point in origin.items()}
    _check_files(found)
    return MappingProxyType(found)


def _check_files(channels: Mapping[str, Channel]) -> None:
    """Each part's file belongs to one channel, because its name is all that a template's folder tells."""
    owners: dict[str, str] = {}
    for name, channel in channels.items():
        for file in channel.profile.files:
            if owners.setdefault(file, name) != name:
                raise PluginError(f"channels {owners[file]!r} and {name!r} both have a part {file}")


def _load(point: EntryPoint) -> Channel:
    try:
        channel = point.load()
    except Exception as error:
        raise PluginError(f"channel {_name(point)} failed to load: {type(error).__name__}: {error}") from error
    missing = [part for part in ("name", "kinds", "profile", "normalise", "build") if not hasattr(channel, part)]
    if missing:
        raise PluginError(f"channel {_name(point)} is not a channel: it has no {', '.join(missing)}")
    if channel.name != point.name:
        raise PluginError(f"channel {_name(point)} calls itself {channel.name!r}")
    found: Channel = channel
    return found


def _name(point: EntryPoint) -> str:
    return f"{point.name!r} ({point.value}, from {_distribution(point)})"


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown distribution"
