"""Chaos: the production shape on this machine, under load and faults, judged from outside. See ``__main__``."""
