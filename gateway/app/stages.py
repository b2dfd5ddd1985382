"""The decisions of the path, made from the packs, the templates and the providers."""

from __future__ import annotations

