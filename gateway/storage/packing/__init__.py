"""How texts are stored in fewer bytes: requests, events, words. Owns dictionaries that never change. Knows no table."""
