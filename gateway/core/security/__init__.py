"""Signatures, keyed digests, signed links and private files: all that depends on secret keys, and on who may read.

Must not know the ledger or HTTP.
"""
