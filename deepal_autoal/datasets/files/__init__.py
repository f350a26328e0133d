"""Dataset files: downloads, archives, formats, caches."""
