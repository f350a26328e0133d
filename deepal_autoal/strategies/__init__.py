"""Strategies and candidate sets by name."""
