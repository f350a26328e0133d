"""Keeps the traces of a plugin's code from everybody else's numbers: puts them back, or stops the run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deepal_autoal.context import damaged_results
from deepal_autoal.errors import QueryError
from deepal_autoal.process import process_state, restore_process

if TYPE_CHECKING:
    import torch

    from deepal_autoal.context import PoolView
    from deepal_autoal.fitted import FittedModel

logger = logging.getLogger(__name__)

_told: set[tuple[str, str, str]] = set()


@contextmanager
def guarded(
    culprit: object, doing: str, model: FittedModel | None = None, views: Sequence[PoolView] = ()
) -> Iterator[None]:
    """Look at what is shared before and after the block.

    Global random generators, torch's modes and threads, and the model's train/eval modes and requires_grad flags are
    put back, with a warning that names the culprit, the first time that it does so. Weights, statistics and outputs
    are not copied for it, so a change of them, as torch counts writes to a tensor, is an error. (Writes that torch
    does not see, such as through ``.numpy()``, are found by the conformance kit alone.)

    Args:
        culprit: Whose code runs in the block.
        doing: What it does, for messages.
        model: The model that it is given.
        views: The views that it is given.

    Raises:
        QueryError: If weights, statistics or outputs were changed.
    """
    process = process_state()
    modes = _modes(model)
    weights = _versions(model)
    damaged_before = [damaged_results(view) for view in views]
    try:
        yield
    finally:
        for name in restore_process(process):
            _tell(culprit, doing, name, "draw from context.rng or context.generator")
        for what in _restore_modes(modes):
            _tell(culprit, doing, what, "work on a copy, or use the views' methods")
    # Not where the block raised: its own error tells more.
    if _versions(model) != weights:
        raise QueryError(
            f"{culprit} changed weights or statistics of the task model in {doing}, so the round's numbers are lost; "
            "let it work on copy.deepcopy(context.model.module)"
        )
    for view, before in zip(views, damaged_before, strict=True):
        damaged = damaged_results(view)
        if damaged != before:
            raise QueryError(
                f"{culprit} changed {', '.join(damaged)} in place in {doing}, which all strategies of the round share; "
                "let it clone() them first"
            )


def _tell(culprit: object, doing: str, what: str, advice: str) -> None:
    key = (str(culprit), doing, what)
    level = logging.DEBUG if key in _told else logging.WARNING
    _told.add(key)
    logger.log(level, "%s changed %s in %s; it was put back (%s)", culprit, what, doing, advice)


def _modes(model: FittedModel | None) -> list[tuple[torch.nn.Module, bool, list[tuple[torch.Tensor, bool]]]]:
    if model is None:
        return []
    return [
        (part, part.training, [(value, value.requires_grad) for value in part.parameters(recurse=False)])
        for part in model.objective.modules()
    ]


def _restore_modes(modes: Iterable[tuple[torch.nn.Module, bool, list[tuple[torch.Tensor, bool]]]]) -> list[str]:
    """Put modes and flags back, and return what was different."""
    different = set()
    for part, training, flags in modes:
        if part.training != training:
            part.training = training
            different.add("the task model's train/eval mode")
        for value, flag in flags:
            if value.requires_grad != flag:
                value.requires_grad_(flag)
                different.add("the task model's requires_grad flags")
    return sorted(different)


def _versions(model: FittedModel | None) -> list[tuple[int, int]]:
    """Return identity and number of writes of every weight and statistic."""
    if model is None:
        return []
    tensors = [*model.objective.parameters(), *model.objective.buffers()]
    return [(id(tensor), tensor._version) for tensor in tensors]
