"""Commands that open the ledger without a server: keys, migrations, evidence, audit, retention, backups."""
