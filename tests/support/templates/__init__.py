"""Templates for tests, and an editor's work on them."""
