"""Operations: pauses and pins, dead letters, reviews, processes and the quarantine after a restore.

Owns their tables and what an operator may do with them. Must not know HTTP.
"""
