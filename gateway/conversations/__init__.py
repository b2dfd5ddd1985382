"""Conversations: who answers a borrower's reply, with what, and what follows from it.

How a reply is understood is gateway/replies. Every answer goes through ``accept`` with a key of its own.
"""
