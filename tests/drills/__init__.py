"""Drills: a fault on a running gateway, the alert that it sets off, and its runbook followed to the end."""
