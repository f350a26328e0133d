"""Writes a third party's plugin distribution, ready to install, from templates: what `deepal new-plugin` does."""
