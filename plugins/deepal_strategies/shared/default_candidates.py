"""The candidates that all built-in selectors have by default, so that they can be compared as they come."""

from __future__ import annotations

# AutoAL's paper's seven.
DEFAULT_CANDIDATES = ("entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd")
