"""Redis: the arq job queue, the due scanner, token buckets, wake-ups and the preview cache.

The only package that knows Redis and arq. Whatever Redis holds may be lost at any moment.
"""
