"""Compare strategies: a grid of runs over datasets and seeds, and its tables.

Importing this package is cheap; the training code is imported when a benchmark runs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
