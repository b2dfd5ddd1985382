"""Identity: API keys of case systems, and the people who sign in with their sessions.

Owns their tables. Must not know what a caller does with its permission.
"""
