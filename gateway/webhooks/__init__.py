"""Webhooks: case systems are told of what happens, signed, at least once and in order."""
