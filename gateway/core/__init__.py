"""Values and mechanisms that every domain shares: states and requests, encoding, signatures, group commit.

Owns no table and imports no domain.
"""
