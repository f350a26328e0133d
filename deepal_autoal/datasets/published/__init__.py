"""Published datasets, by name."""
