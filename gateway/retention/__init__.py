"""Retention: archives, erasure, legal holds, backups, restores and the size of tables.

Owns what leaves the ledger and when. Must not know the path of a reminder.
"""
