"""The life of a tenant's template versions: draft, submitted, approved, published, rolled back.

Owns their tables and transitions. Must not know HTTP or pages.
"""
