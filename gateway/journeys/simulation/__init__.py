"""A portfolio through a definition by the same decisions as in running, with nothing stored or sent."""
