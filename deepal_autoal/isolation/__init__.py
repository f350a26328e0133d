"""Isolation of plugins: side effects undone, errors attributed to the plugin that caused them, slow calls logged."""
