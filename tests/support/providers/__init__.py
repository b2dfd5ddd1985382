"""The other side of providers: servers on loopback, and what they send to us. Knows no test."""
