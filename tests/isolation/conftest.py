"""Fixtures for tests of misbehaving plugins."""

import pytest

from deepal_autoal import hookimpl
from deepal_autoal.isolation import process_state
from tests.isolation.misbehaving import First


@pytest.fixture(autouse=True)
def forget_warnings():
    process_state._warned.clear()


@pytest.fixture
def as_strategy(registered):
    """Return a function that registers `First` with a side effect as the strategy ``first``."""

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
