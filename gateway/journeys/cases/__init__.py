"""Cases as their case systems tell of them: records, payments, promises, plans, each an event."""
