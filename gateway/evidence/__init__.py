"""Evidence: what was known when, and whether what was sent broke a rule.

Reads the ledger only. Must not import the policy or the stages that it checks.
"""
