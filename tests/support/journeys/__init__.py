"""Journeys for tests: definitions, cases, engines and workers. Knows no page."""
