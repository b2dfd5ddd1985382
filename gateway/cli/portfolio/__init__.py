"""Portfolio files: read, mapped to requests, sent in batches or only decided."""
