"""The composition root: settings, every concrete part, and the processes that are made of them.

The only package that names concrete parts and reads the system clock. Each file opens one group of parts from the
groups before it: storage, redis, providers, templates, stages, pipeline, template_services; ``app`` has their order.
Nothing is imported here, so that a command loads only what it uses.
"""
