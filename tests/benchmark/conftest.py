"""Plugins that are registered in this process for one test."""

import pytest

from deepal_autoal import ScoringStrategy, hookimpl, plugin_host


@pytest.fixture
def register():
    """Return a function that registers things in this process for one test: ``register(strategies={...})``."""
    registered = []

    def call(strategies=None, models=None, datasets=None):
        class Plugin:
            @hookimpl
            def deepal_register_strategies(self, registry):
                for name, target in (strategies or {}).items():
                    registry.add(name, target, summary="of a test")

            @hookimpl
            def deepal_register_models(self, registry):
                for name, target in (models or {}).items():
                    registry.add(name, target, summary="of a test", inputs="any")

            @hookimpl
            def deepal_register_datasets(self, registry):
                for name, target in (datasets or {}).items():
                    registry.add(name, target, summary="of a test")

        plugin = Plugin()
        plugin_host().register(plugin, f"test-{len(registered)}")
        registered.append(plugin)

    yield call
    for plugin in registered:
        plugin_host().unregister(plugin)


class Broken(ScoringStrategy):
    """Fails in round 1."""

    requires = frozenset({"probabilities"})

    def score(self, context):
        if context.round == 1:
            raise ZeroDivisionError("nothing to divide by")
        return context.candidates.probabilities()[:, 0]


class First(ScoringStrategy):
    """Scores by the first class's probability, or by its negative."""

    requires = frozenset({"probabilities"})

    def __init__(self, sign: int = 1, weights: list | None = None) -> None:
        self.sign = sign
        self.weights = weights

    def score(self, context):
        return self.sign * context.candidates.probabilities()[:, 0]


@pytest.fixture
def plugins(register):
    """Register the third-party strategies ``first`` and ``broken``."""
    register(strategies={"first": First, "broken": Broken})
