"""From a request to a provider's server, and back by receipts and replies."""
