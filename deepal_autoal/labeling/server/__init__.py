"""The labeling page, served to a browser: ``deepal label serve``."""
