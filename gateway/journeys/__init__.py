"""Journeys: a case's course over days, from the first reminder to the legal step.

``advance`` is the one pure function that decides what happens next; production and simulation both call it. A journey
contacts nobody by itself: each step is a request to ``accept`` under an idempotency key of its own, so that every
promise of the path (deduplication, policy, caps, receipts) holds for it.
"""
