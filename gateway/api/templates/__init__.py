"""The template resources of the API."""
