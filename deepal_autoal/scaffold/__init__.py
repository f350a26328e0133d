"""Write a plugin distribution, ready to install, from templates, for `deepal new-plugin`."""
