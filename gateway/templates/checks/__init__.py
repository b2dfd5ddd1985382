"""Checks of a template before it is published: lint rules, word lists, translatable findings.

Must not know the ledger or who edits.
"""
