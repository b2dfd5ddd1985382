"""Borrowers: holds, opt-outs, consents, addresses and the in-app feed.

Owns their tables and events. Must not know how a reminder is decided or sent.
"""
