"""The parts that the embedded default starts for itself: a Valkey server, the simulated world, and their lock."""
