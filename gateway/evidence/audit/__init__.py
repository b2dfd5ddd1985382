"""A second opinion: what went out, judged from the ledger's events and the packs' figures by code of its own."""
