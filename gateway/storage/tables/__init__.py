"""The ledger's tables, a module for each domain. They know nothing of what is done with them."""
