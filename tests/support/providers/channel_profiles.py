"""What the channels that the project ships declare of their texts."""

from __future__ import annotations

from channels import registry
from channels.profile import Profiles

PROFILES: Profiles = registry.profiles(registry.discover())
