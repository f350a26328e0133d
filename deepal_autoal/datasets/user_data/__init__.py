"""A user's own data: folders of images, tables of paths, arrays."""
