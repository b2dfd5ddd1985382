"""The HTTP API: parse, one verb, answer."""
