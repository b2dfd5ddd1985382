"""Policy packs and reply rules for tests, and what is decided by them. Knows no ledger."""
