"""Accuracy, and whether active learning pays, from labels that are a uniform sample of the pool: pure functions."""
