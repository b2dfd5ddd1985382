"""The groups of commands in ``gateway --help``."""

PORTFOLIOS = "Send, and see what became of it"
PROCESSES = "Run and check the gateway"
OPERATIONS = "Stop, resume, and decide what waits"
SETTINGS = "Texts, rules, people and keys"
EVIDENCE = "The ledger and its evidence"
