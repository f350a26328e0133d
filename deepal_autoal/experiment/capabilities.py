"""Whether a strategy and a task model fit each other, checked before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from deepal_autoal.errors import InputError
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.strategies.candidate_selection import CandidateSelection
from deepal_autoal.strategies.factory import without_candidates

if TYPE_CHECKING:
    from deepal_autoal.querying.strategy import Strategy
    from deepal_autoal.training.task_model import TaskModel

logger = logging.getLogger(__name__)


def leave_out_unable_candidates(strategy: Strategy, model_name: str, new_module: Callable[[], TaskModel]) -> Strategy:
    """Return a selector without the candidates that only come from a set and require what the model lacks.

    Args:
        strategy: Any strategy; all but selectors are returned as they are.
        model_name: The task model's name.
        new_module: Creates an untrained task model.
    """
    if not isinstance(strategy, SelectorStrategy):
        return strategy
    optional = CandidateSelection(strategy.candidate_words).optional
    unable = [
        name
        for name, candidate in strategy.candidates.items()
        if name in optional and "mc_dropout" in candidate.requires
    ]
    if not unable or new_module().has_passes:
        return strategy
    logger.warning(
        "candidates of %s left out: %s; they require mc_dropout, but the model %r has no dropout",
        strategy, ", ".join(unable), model_name,
    )  # fmt: skip
    return without_candidates(strategy, unable)


def require_capabilities(strategy: Strategy, model_name: str, new_module: Callable[[], TaskModel]) -> None:
    """Check that the model has what the strategy requires.

    Args:
        strategy: The strategy.
        model_name: The task model's name.
        new_module: Creates an untrained task model as the strategy trains it.

    Raises:
        InputError: If the model lacks something, or cannot be trained as the strategy trains it.
    """
    needs_dropout = "mc_dropout" in strategy.requires
    if not needs_dropout and not strategy.changes_training:
        return
    module = new_module()  # a changed objective reports here what it lacks
    if needs_dropout and not module.has_passes:
        raise InputError(
            f"{strategy} requires mc_dropout, but the model {model_name!r} has no dropout; choose another --model"
            f"{', or --candidates without dropout passes' if isinstance(strategy, SelectorStrategy) else ''}"
        )
