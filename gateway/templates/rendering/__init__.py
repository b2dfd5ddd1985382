"""Rendering for a channel: MJML to HTML, permitted markup, SMS segments, checks of e-mails.

Must not know the ledger or who edits.
"""
