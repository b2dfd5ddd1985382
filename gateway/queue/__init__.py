"""Redis: the arq job queue, the due scanner, token buckets, the feed's pub/sub fan-out and the preview cache.

The only package that knows Redis and arq. Whatever Redis holds may be lost at any moment.
"""
