"""``gateway demo``: the whole gateway on this machine with a portfolio sent through it."""
