"""Whether a strategy and a task model fit each other, checked before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from deepal_autoal.errors import InputError
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.strategies.candidate_selection import CandidateSelection
from deepal_autoal.strategies.factory import without_candidates

if TYPE_CHECKING:
    from deepal_autoal.querying.strategy import Requirement, Strategy
    from deepal_autoal.training.task_model import TaskModel

logger = logging.getLogger(__name__)

# What some models lack: what a message says of such a model, and what uses it.
_LACKS: dict[Requirement, str] = {
    "mc_dropout": "has no dropout",
    "differentiable": "has no gradients with respect to inputs and embeddings",
}
_USES: dict[Requirement, str] = {"mc_dropout": "dropout passes", "differentiable": "such gradients"}


def leave_out_unable_candidates(strategy: Strategy, model_name: str, new_module: Callable[[], TaskModel]) -> Strategy:
    """Return a selector without the candidates that only come from a set and require what the model lacks.

    Args:
        strategy: Any strategy; all but selectors are returned as they are.
        model_name: The task model's name.
        new_module: Creates an untrained task model.
    """
    if not any(candidate.requires & _LACKS.keys() for candidate in _optional_candidates(strategy).values()):
        return strategy
    return leave_out_candidates(
        strategy, {need: f"the model {model_name!r} {_LACKS[need]}" for need in _lacked(new_module())}
    )


def leave_out_candidates(strategy: Strategy, lacks: Mapping[Requirement, str]) -> Strategy:
    """Return a selector without the candidates that only come from a set and have one of some requirements.

    Args:
        strategy: Any strategy; all but selectors are returned as they are.
        lacks: What is lacking, by requirement, for the warnings.
    """
    candidates = _optional_candidates(strategy)
    unable: set[str] = set()
    for need, reason in lacks.items():
        needing = [name for name, candidate in candidates.items() if need in candidate.requires]
        if needing:
            logger.warning(
                "candidates of %s left out: %s; they require %s, but %s", strategy, ", ".join(needing), need, reason
            )
        unable.update(needing)
    return without_candidates(strategy, unable) if unable and isinstance(strategy, SelectorStrategy) else strategy


def _optional_candidates(strategy: Strategy) -> dict[str, Strategy]:
    if not isinstance(strategy, SelectorStrategy):
        return {}
    optional = CandidateSelection(strategy.candidate_words).optional
    return {name: candidate for name, candidate in strategy.candidates.items() if name in optional}


def require_capabilities(strategy: Strategy, model_name: str, new_module: Callable[[], TaskModel]) -> None:
    """Check that the model has what the strategy requires.

    Args:
        strategy: The strategy.
        model_name: The task model's name.
        new_module: Creates an untrained task model as the strategy trains it.

    Raises:
        InputError: If the model lacks something, or cannot be trained as the strategy trains it.
    """
    needs = strategy.requires & _LACKS.keys()
    if not needs and not strategy.changes_training:
        return
    module = new_module()  # a changed objective reports here what it lacks
    for need in _lacked(module):
        if need in needs:
            other = f", or --candidates without {_USES[need]}" if isinstance(strategy, SelectorStrategy) else ""
            raise InputError(
                f"{strategy} requires {need}, but the model {model_name!r} {_LACKS[need]}; "
                f"choose another --model{other}"
            )


def require_classes(strategy: Strategy, n_classes: int) -> None:
    """Check that a strategy and its candidates can choose among samples of so many classes.

    Raises:
        InputError: If one cannot.
    """
    strategy._check_classes(n_classes)
    if isinstance(strategy, SelectorStrategy):
        for candidate in strategy.candidates.values():
            require_classes(candidate, n_classes)


def _lacked(module: TaskModel) -> list[Requirement]:
    has: dict[Requirement, bool] = {"mc_dropout": module.has_passes, "differentiable": module.is_differentiable}
    return [need for need in has if not has[need]]
