"""Browsers and people before pages, and how a page looks to them. Knows no single test."""
