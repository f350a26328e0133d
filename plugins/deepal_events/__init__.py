"""Built-in plugins that watch runs and may stop them; all are off until an option of `deepal run` asks for them."""
