"""What a plugin may implement: pluggy hook specifications of the project ``deepal``.

A hook implementation is a function with the hook's name, marked with `hookimpl`; it may leave out arguments that it
does not need. Registration hooks run once, when plugins are loaded. Event hooks run inside `run`: one that raises is
reported and does not stop the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepal_autoal.plugins.registry import Registrar
    from deepal_autoal.plugins.run_view import ActiveRun
    from deepal_autoal.querying.strategy import Query
    from deepal_autoal.training.fitted_model import FittedModel

PROJECT = "deepal"
# Incremented whenever plugins can use something new. A plugin declares the version that it is written for:
# ``deepal_contract = 1``.
CONTRACT_VERSION = 2

F = TypeVar("F", bound="Callable[..., Any]")
_spec = pluggy.HookspecMarker(PROJECT)
_impl = pluggy.HookimplMarker(PROJECT)


def hookimpl(function: F) -> F:
    """Mark a function as the implementation of the hook of the same name."""
    return _impl(function)


@_spec
def deepal_register_strategies(registry: Registrar) -> None:
    """Add strategies: ``registry.add("name", StrategyClass or "module:Class", summary="...")``."""


@_spec
def deepal_register_datasets(registry: Registrar) -> None:
    """Add datasets: ``registry.add("name", loader or "module:function", summary="...")``.

    A loader is called as ``loader(data_dir)`` with a `pathlib.Path` and returns a `Dataset`. If it takes ``image_size``
    (height and width) or ``skip_bad``, it gets them by name when the user gives them.
    """


@_spec
def deepal_register_models(registry: Registrar) -> None:
    """Add models: ``registry.add("name", factory or "module:function", summary="...")``.

    A factory is called as ``factory(input_shape, n_classes)`` and returns a `TaskModel`.
    """


@_spec
def deepal_register_backends(registry: Registrar) -> None:
    """Add backends of benchmarks: ``registry.add("name", BackendClass or "module:Class", summary="...")``.

    The class is a subclass of `deepal_autoal.benchmark.Backend`; prefer ``"module:Class"``, which is imported when
    ``--backend name`` is given.
    """


@_spec
def deepal_register_options(registry: Registrar) -> None:
    """Add options of ``deepal run``: ``registry.add("name", convert or "module:function", summary="...")``.

    The user gives ``--name VALUE`` or, with ``flag=True``, ``--name``. ``convert`` turns the text (True for a flag;
    from Python, any value that was given) into a JSON-able value, or raises ``ValueError`` with advice. Hooks read
    ``run.options["name"]``, which is None if the option was not given.
    """


@_spec
def deepal_run_started(run: ActiveRun) -> None:
    """Everything is resolved and written to ``config.json``; nothing is trained yet."""


@_spec
def deepal_model_trained(run: ActiveRun, model: FittedModel, metrics: Mapping[str, Any]) -> None:
    """The round's task model is trained and evaluated; ``metrics`` holds ``accuracy`` and training metrics."""


@_spec(firstresult=True)
def deepal_should_stop(run: ActiveRun) -> str | None:
    """Return a reason to stop, or None. Called after evaluation, before the query; the first reason stops the run."""


@_spec
def deepal_batch_queried(run: ActiveRun, query: Query) -> None:
    """The strategy chose a batch and the core checked it; its labels are not revealed yet."""


@_spec
def deepal_round_finished(run: ActiveRun, record: Mapping[str, Any]) -> None:
    """The round's record is written (see ``rounds.jsonl``)."""


@_spec
def deepal_run_finished(run: ActiveRun) -> None:
    """The run is complete, and its summary and model are written."""
