"""What tests of misbehaving plugins share."""

import pytest
from misbehaving import First

from deepal_autoal import hookimpl, process


@pytest.fixture(autouse=True)
def told_anew():
    process._told.clear()


@pytest.fixture
def as_strategy(registered):
    """Return a function that registers `First` with a deed as the strategy ``first``."""

    def make(deed):
        class Doer(First):
            def __init__(self):
                super().__init__(deed)

        class Plugin:
            @hookimpl
            def deepal_register_strategies(self, registry):
                registry.add("first", Doer)

        registered(Plugin(), "first")

    return make
