"""The labeled samples on which a strategy judges models: the run's validation set, or a part of the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import LabeledView, QueryContext

    Numbers = NDArray[np.int64]

# Share of the labeled samples that judge, unless their number is given, and with how few nothing is learned.
VALIDATION_SHARE = 0.25
MIN_LABELED = 8


def split_labeled(context: QueryContext, n_validation: int | None) -> tuple[Numbers, Numbers]:
    """Return pool indices of what to learn from, S₀, and of the validation set: the run's, or drawn from the labels.

    Args:
        context: The round, with at least `MIN_LABELED` labeled samples.
        n_validation: V; None for `VALIDATION_SHARE`, or for the run's own set.

    Raises:
        InputError: If V leaves too few samples to learn from, or the run has a set of its own.
    """
    indices = np.sort(context.labeled.indices)
    if context.validation is not None:
        refuse_another_set(n_validation)
        return indices, context.validation.indices
    n = round(VALIDATION_SHARE * len(indices)) if n_validation is None else n_validation
    if len(indices) - n < MIN_LABELED // 2:
        raise InputError(
            f"option validation is {n}, but {len(indices)} samples are labeled: at least {MIN_LABELED // 2} must be "
            "left to learn from; label more to begin with (--initial), or validate with fewer"
        )
    order = context.rng.permutation(len(indices))
    return np.sort(indices[order[n:]]), np.sort(indices[order[:n]])


def refuse_another_set(n_validation: int | None) -> None:
    """Refuse a strategy's own validation set beside that of the run.

    Raises:
        InputError: If a size is given.
    """
    if n_validation:
        raise InputError(
            f"option validation is {n_validation}, but the run has a validation set, which is used instead of labeled "
            "samples: leave out one of the two"
        )


def judges(context: QueryContext) -> LabeledView:
    """Return the view that validation samples are in: the run's set, or without one the labeled samples."""
    return context.labeled if context.validation is None else context.validation


def labels_of(view: LabeledView, indices: Numbers) -> Tensor:
    """Return the labels of samples by pool index, (n,), on the device."""
    return view.labels[positions_of(view, indices)]


def positions_of(view: LabeledView, indices: Numbers) -> Tensor:
    """Return the rows of samples in a view by pool index, (n,), on the device."""
    order = np.argsort(view.indices)
    rows = order[np.searchsorted(view.indices[order], indices)]
    return torch.as_tensor(rows, device=view.labels.device)
