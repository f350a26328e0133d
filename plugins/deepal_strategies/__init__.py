"""The built-in query strategies, one module each; they use public names of `deepal_autoal` only."""
