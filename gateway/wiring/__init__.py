"""The composition root: the only place that names concrete parts and reads the system clock.

``whole`` puts a gateway together from settings and takes it apart again; ``ledger`` opens just the ledger, for commands
that need no more. Each file makes one group of parts, from the groups before it: ledger, hot, providers, texts, stages,
path, desk, and the whole, which has their order. Nothing is imported here, so that a command loads what it uses.
"""
