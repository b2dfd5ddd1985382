"""What callers may send: one module for each domain, and the types of fields. Must not know what is done with it."""
