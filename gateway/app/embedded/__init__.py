"""The embedded mode: a Valkey server and simulated providers as child processes, and the data directory's lock."""
