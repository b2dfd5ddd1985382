"""Changes of the whole ledger while it is in use: migrations of the schema, and another key of the address digests.

Must not know stages, channels or HTTP.
"""
