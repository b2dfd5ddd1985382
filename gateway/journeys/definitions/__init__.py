"""Definitions of journeys: their form, lint, versions and the migration between versions. No journey's state."""
