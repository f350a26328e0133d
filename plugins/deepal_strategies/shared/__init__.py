"""Code shared by several of the built-in strategies."""
