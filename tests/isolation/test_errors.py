"""Errors raised anywhere in a strategy's code name the strategy."""

import pytest
import torch

from deepal_autoal import (
    DeepALError,
    InputError,
    PluginError,
    QueryError,
    SelectorStrategy,
    hookimpl,
    run,
)
from tests.isolation.misbehaving import First


class Leaves(First):
    """Calls sys.exit() somewhere."""

    where = "query"

    def __init__(self):
        super().__init__()
        self._exit("constructor")

    def _exit(self, here):
        if here == self.where:
            raise SystemExit(0)

    def query(self, context, batch_size):
        self._exit("query")
        return super().query(context, batch_size)

    def wrap_trainer(self, trainer):
        self._exit("wrap_trainer")
        return trainer

    def state_dict(self):
        self._exit("state_dict")
        return {}


@pytest.mark.parametrize("where", ["query", "constructor", "wrap_trainer", "state_dict"])
def test_exits_of_plugin_code_are_errors(blob_data, quick, registered, monkeypatch, where):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("leaves", Leaves)

    registered(Plugin(), "leaves")
    monkeypatch.setattr(Leaves, "where", where)
    with pytest.raises(PluginError, match=r"strategy 'leaves' of this process failed.*SystemExit"):
        run("leaves", blob_data, **quick)


@pytest.mark.parametrize(
    "attributes, expected",
    [
        ({"requires": property(lambda self: 1 / 0)}, "ZeroDivisionError"),
        ({"requires": None}, "requires|iterable"),
        ({"describe_options": lambda self: 3}, "items"),
        ({"name": property(lambda self: "mine")}, "name"),
        ({"state_dict": lambda self: 1 / 0}, "failed in state_dict: ZeroDivisionError"),
    ],
)
def test_errors_in_parts_of_a_strategy_name_it(blob_data, quick, registered, attributes, expected):
    broken = type("Broken", (First,), {"__init__": lambda self: First.__init__(self), **attributes})

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("broken", broken, requires=())

    registered(Plugin(), "broken")
    with pytest.raises(DeepALError, match=rf"strategy 'broken'.*({expected})"):
        run("broken", blob_data, **quick)


def test_query_errors_of_a_plugin_name_it_too(blob_data, quick):
    def complain(context):
        raise QueryError("mine")

    with pytest.raises(QueryError, match="strategy 'First' failed in query: mine"):
        run(First(complain), blob_data, **quick)


@pytest.mark.parametrize(
    "given", [lambda n: 1 / 0, lambda n: torch.ones(n + 1), lambda n: torch.full((n,), float("nan"))]
)
def test_wrong_choice_probabilities_name_the_candidate(blob_data, quick, registered, given):
    class Chooses(First):
        def __init__(self):
            super().__init__()

        def choice_probabilities(self, context, batch_size):
            return given(len(context.candidates))

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("chooses", Chooses)

    registered(Plugin(), "chooses")
    with pytest.raises(QueryError, match=r"^strategy 'chooses' of this process.*choice_probabilities"):
        run("albl", blob_data, candidates=["chooses", "entropy"], **quick)


def test_an_error_is_not_hidden_by_the_side_effects_before_it(blob_data, quick):
    def both(context):
        context.model.module.head.weight.zero_()
        raise KeyError("mine")

    with pytest.raises(QueryError, match="KeyError: 'mine'"):
        run(First(both), blob_data, **quick)


def raise_generator_exit(context):
    raise GeneratorExit


def raise_as_if_named(context):
    raise InputError("strategy is a word that others use too")


class UnspeakableError(Exception):
    def __str__(self):
        raise KeyError


def raise_unspeakable(context):
    raise UnspeakableError


@pytest.mark.parametrize(
    "deed, expected",
    [
        (raise_generator_exit, "GeneratorExit"),
        (raise_as_if_named, "strategy is a word"),
        (raise_unspeakable, "UnspeakableError: .its message cannot be read"),
    ],
)
def test_unusual_errors_name_the_strategy(blob_data, quick, deed, expected):
    with pytest.raises(QueryError, match=f"^strategy 'First' failed in query: {expected}"):
        run(First(deed), blob_data, **quick)


def test_input_errors_of_constructors_and_loaders_name_their_plugin(blob_data, quick, registered, tmp_path):
    def load(data_dir):
        raise InputError("no file here")

    class Picky(First):
        def __init__(self, k: int = 0):
            raise InputError("k is too small")

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("picky", Picky)

        @hookimpl
        def deepal_register_datasets(self, registry):
            registry.add("missing", load, summary="x")

    registered(Plugin(), "plugin")
    with pytest.raises(InputError, match="strategy 'picky' of this process: k is too small"):
        run("picky", blob_data, **quick)
    with pytest.raises(InputError, match="dataset 'missing' of this process: no file here"):
        run("random", "missing", **quick)


def test_default_candidates_must_be_names(registered):
    class Composes(SelectorStrategy):
        default_candidates = "margin"

        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("composes", Composes)

    with pytest.raises(PluginError, match="default_candidates must be a tuple of names"):
        registered(Plugin(), "composes")
