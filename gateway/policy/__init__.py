"""The contact policy: may this borrower be contacted now, on this channel, and if not, when or why not.

The door of the folder and nothing else. The order of a decision is in engine.py, the list of rules in packs.py.
"""

from gateway.policy.engine import decide, has_common_hours
from gateway.policy.four_eyes import SharedAct, needs_second_person
from gateway.policy.packs import EffectiveRules, Pack, PackError, Packs, load_packs, read_pack
from gateway.policy.texts import refuses_text

__all__ = [
    "EffectiveRules",
    "Pack",
    "PackError",
    "Packs",
    "SharedAct",
    "decide",
    "has_common_hours",
    "load_packs",
    "needs_second_person",
    "read_pack",
    "refuses_text",
]
