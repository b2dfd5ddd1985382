"""Replies: what borrowers write back, how it is classified and recorded.

Owns the reply rules and their table. Must not know which provider brought a reply.
"""
