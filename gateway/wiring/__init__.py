"""The composition root: the only place that names concrete parts and reads the system clock.

``open_gateway`` puts a whole gateway together from settings and takes it apart again; ``open_ledger`` opens
just the ledger, for commands that need no more. Each file makes one group of parts, from the groups before it:
ledger, hot, providers, texts, stages, path, desk, and the whole, which has their order.
"""

from gateway.wiring.ledger import LedgerParts, open_ledger, system_clock
from gateway.wiring.providers import build_provider
from gateway.wiring.texts import load_catalog, policies_folder, templates_folder
from gateway.wiring.whole import Gateway, open_gateway

__all__ = [
    "Gateway",
    "LedgerParts",
    "build_provider",
    "load_catalog",
    "open_gateway",
    "open_ledger",
    "policies_folder",
    "system_clock",
    "templates_folder",
]
