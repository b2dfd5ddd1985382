"""Rendered examples of a version: for sample borrowers, on every channel, and compared with another version.

Must not know the life of versions, permissions or HTTP.
"""
