"""The cards of the built-in strategies, a module for each family."""
