"""The composition root: settings, the construction of all services, and the processes that run them.

The only package that names concrete classes and reads the system clock. Each module builds one group of services from
the groups before it: storage, redis, providers, templates, stages, pipeline, template_services; ``app`` calls them.
This file imports nothing, so that a command loads only what it uses.
"""
