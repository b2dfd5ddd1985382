"""The ledger: SQL, the truth about every notification, borrower and case."""
