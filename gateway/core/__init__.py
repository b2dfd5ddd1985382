"""Words and mechanisms that every domain shares: the model, ports, encoding, signatures and batching.

Owns no table and imports no domain.
"""
