"""Observability: log records, traces, metrics and readiness.

Owns their names and closed lists. Must not decide anything or read the ledger.
"""
