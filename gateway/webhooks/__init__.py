"""Webhooks to case systems: a transactional outbox, delivered signed, at-least-once and in order."""
