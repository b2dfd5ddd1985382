"""The stored versions of templates: rows, legal transitions under a lock, and which requests a change would break.

Must not know previews, writers' forms or HTTP.
"""
