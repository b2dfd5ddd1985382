"""Ledgers for tests: servers, empty and filled ones, what work costs them. Knows no page and no journey."""
