"""Channels and their providers. A leaf: nothing here knows the gateway."""
