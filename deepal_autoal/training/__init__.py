"""From labeled samples to a fitted model: inputs, recipe, objective, trainer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
