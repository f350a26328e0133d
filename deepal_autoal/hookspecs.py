"""What a plugin may implement: pluggy hook specifications of the project ``deepal``.

A hook implementation is a function marked with `hookimpl` that bears the hook's name; it may leave out
arguments that it does not need. Registration hooks run once, when plugins are loaded. Event hooks run inside
`run`: one that raises is reported and does not stop the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepal_autoal.fitted import FittedModel
    from deepal_autoal.loop import ActiveRun
    from deepal_autoal.registry import Registrar
    from deepal_autoal.strategy import Query

PROJECT = "deepal"
# Raised by one whenever plugins can use something new. A plugin says which it is written for: ``deepal_contract = 1``.
CONTRACT_VERSION = 1

F = TypeVar("F", bound="Callable[..., Any]")
_spec = pluggy.HookspecMarker(PROJECT)
_impl = pluggy.HookimplMarker(PROJECT)


def hookimpl(function: F) -> F:
    """Mark a function as the implementation of the hook whose name it bears."""
    return _impl(function)


@_spec
def deepal_register_strategies(registry: Registrar) -> None:
    """Add strategies: ``registry.add("name", StrategyClass or "module:Class", summary="...")``."""


@_spec
def deepal_register_datasets(registry: Registrar) -> None:
    """Add datasets: ``registry.add("name", loader or "module:function", summary="...")``.

    A loader is called as ``loader(data_dir)`` with a `pathlib.Path` and returns a `Dataset`.
    """


@_spec
def deepal_register_models(registry: Registrar) -> None:
    """Add models: ``registry.add("name", factory or "module:function", summary="...")``.

    A factory is called as ``factory(input_shape, n_classes)`` and returns a `TaskModel`.
    """


@_spec
def deepal_register_options(registry: Registrar) -> None:
    """Add options of ``deepal run``: ``registry.add("name", convert or "module:function", summary="...")``.

    The user gives ``--name VALUE`` or, with ``flag=True``, ``--name``. ``convert`` makes of the text (of True; from
    Python, of whatever was given) a JSON-able value, or raises ``ValueError`` with advice. Hooks read
    ``run.options["name"]``, None where it was not given.
    """


@_spec
def deepal_run_started(run: ActiveRun) -> None:
    """Everything is resolved and written to ``config.json``; nothing is trained yet."""


@_spec
def deepal_model_trained(run: ActiveRun, model: FittedModel, metrics: Mapping[str, Any]) -> None:
    """The round's task model is trained and evaluated; ``metrics`` holds ``accuracy`` and the training's own."""


@_spec(firstresult=True)
def deepal_should_stop(run: ActiveRun) -> str | None:
    """Return a reason to stop, or None. Asked after evaluation, before the query; the first reason stops."""


@_spec
def deepal_batch_queried(run: ActiveRun, query: Query) -> None:
    """The strategy chose a batch and the core checked it; its labels are not revealed yet."""


@_spec
def deepal_round_finished(run: ActiveRun, record: Mapping[str, Any]) -> None:
    """The round's record is written (see ``rounds.jsonl``)."""


@_spec
def deepal_run_finished(run: ActiveRun) -> None:
    """The run is complete, and its summary and model are written."""
