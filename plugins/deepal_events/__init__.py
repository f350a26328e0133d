"""Built-in plugins that watch runs and may stop them; all are off unless an option of `deepal run` turns them on."""
