"""The ledger on SQL: database, statements, schema, migrations, events, the unit of work, and the path's transactions.

Owns what is stored and when it is committed. Must not decide anything about a borrower or a provider.
"""
