"""The template language: restricted Liquid, its filters, variables, formats and compiled versions.

Must not know channels, tenants or the ledger.
"""
