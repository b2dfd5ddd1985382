"""Several processes: the demo, production's shape, changes of keys, tracing."""
