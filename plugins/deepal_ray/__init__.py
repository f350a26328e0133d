"""The backend ``ray`` of benchmarks; it uses only public names of `deepal_autoal`."""
