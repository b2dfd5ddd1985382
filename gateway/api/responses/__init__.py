"""What the API answers: one model for each body, for the OpenAPI document alone.

Answers are built as plain objects where they are read (gateway/storage/reads.py and others), and are not validated
when they are sent: that would cost more than to build them. tests/e2e/api/test_api_schema.py compares them.
"""
