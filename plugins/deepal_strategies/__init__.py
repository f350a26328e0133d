"""The built-in query strategies, one module each; they use only public names of `deepal_autoal`."""
