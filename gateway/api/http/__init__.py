"""What every route shares: bodies, problems, cursors, authentication, request ids and OpenAPI.

Must not know a resource.
"""
