"""The audit: checks what was sent against the pack files, from the ledger's events, without the policy's code."""
