"""The judgement, from the clients' own notes and from what the providers received. The gateway is not asked.

Only two figures need its word: which of the accepted requests have not come to an end, as any client may ask.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from tests.chaos.harness.load import OF_JOURNEYS, Kind, Note
from tests.chaos.harness.outside import Arrival

_ARRIVES = {Kind.PLAIN, Kind.MAIL, Kind.ROUTE, Kind.SOCIAL}
_GAP = timedelta(hours=4)  # templates/policies/default.yaml, min_gap
# A borrower's window is kept to by the ledger's clock, and an arrival is timed a little after the hand-over began.
_ON_THE_WAY = timedelta(seconds=2)


def judge(notes: Sequence[Note], arrivals: Sequence[Arrival]) -> dict[str, int]:
    """How often each promise was broken."""
    accepted = [note for note in notes if note.id]
    requests = [note for note in accepted if note.kind not in OF_JOURNEYS]
    courses = [note for note in accepted if note.kind in OF_JOURNEYS]
    by_address: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        by_address[arrival.address].append(arrival)
    known = {address for note in accepted for address in (note.phone, note.mail)}
    return {
        "accepted": len(accepted),
        "lost": len(lost_notes(accepted, arrivals)),
        "repeated": sum(_repeated(note, by_address) for note in requests if note.kind is not Kind.CAPPED),
        "outside_window": sum(1 for note in accepted for each in _of(note, by_address) if _outside(note, each)),
        "over_cap": _over_cap(accepted, by_address),
        "after_opt_out": sum(1 for note in accepted for each in _of(note, by_address) if _too_late(note, each)),
        "free_text": sum(each.free_text for each in arrivals),
        "journeys_lost": sum(not by_address.get(note.phone) for note in courses if note.kind is Kind.JOURNEY),
        "steps_repeated": sum(_repeated(note, by_address) for note in courses),
        "after_payment": sum(1 for note in courses for each in _of(note, by_address) if _paid(note, each)),
        "orphans": sum(len(found) for address, found in by_address.items() if address not in known),
    }


def lost_notes(notes: Sequence[Note], arrivals: Sequence[Arrival]) -> list[Note]:
    """Requests that were accepted, should have arrived, and did not."""
    addresses = {each.address for each in arrivals}
    return [note for note in notes if note.id and note.kind in _ARRIVES and not addresses & {note.phone, note.mail}]


def arrived_by_kind(notes: Sequence[Note], arrivals: Sequence[Arrival]) -> dict[str, int]:
    """How many requests of each kind arrived: what the other figures were counted on."""
    addresses = {each.address for each in arrivals}
    counts = Counter(str(note.kind) for note in notes if addresses & {note.phone, note.mail})
    return dict(sorted(counts.items()))


def _of(note: Note, by_address: dict[str, list[Arrival]]) -> list[Arrival]:
    return [*by_address.get(note.phone, ()), *by_address.get(note.mail, ())]


def _repeated(note: Note, by_address: dict[str, list[Arrival]]) -> int:
    counts = Counter(each.channel for each in _of(note, by_address))
    return sum(count - 1 for count in counts.values())


def _outside(note: Note, arrival: Arrival) -> bool:
    if note.kind is Kind.AT_NIGHT:
        return True
    if note.window is None:
        return False
    opens, closes = note.window
    return not opens <= arrival.at <= closes + _ON_THE_WAY


def _over_cap(accepted: Sequence[Note], by_address: dict[str, list[Arrival]]) -> int:
    broken = 0
    for phone in {note.phone for note in accepted if note.kind is Kind.CAPPED}:
        times = sorted(each.at for each in by_address.get(phone, ()))
        broken += sum(1 for before, after in pairwise(times) if after - before < _GAP)
    return broken


def _paid(note: Note, arrival: Arrival) -> bool:
    return note.paid_at is not None and arrival.at > note.paid_at


def _too_late(note: Note, arrival: Arrival) -> bool:
    return note.opted_out_at is not None and arrival.at > note.opted_out_at
