"""Temperature scaling: probabilities calibrated with labels that the model has not seen.

A network trained to full accuracy on few labels is overconfident. Dividing its logits by one number, the temperature
under which held-out labels are most likely, keeps the predicted classes and corrects the probabilities (Guo et al.
2017). No labels are set aside for this: models fitted to parts of the labeled set predict the rest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

N_FOLDS = 3
# Log temperatures searched; their prior is normal around 0, with standard deviation _SPREAD.
_LIMIT = 4.0
_SPREAD = 1.0
_VALUES = 401


def stratified_folds(
    labels: NDArray[np.int64], n_folds: int, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return each sample's fold, int64 (M,): classes are spread evenly over folds; -1 for a class's only sample.

    Args:
        labels: (M,).
        n_folds: Number of folds; some may stay empty.
        seed: Seed of the draw.
        groups: Group numbers from 0, (M,): copies of one sample share a group, which stays in one fold; by default
            every sample is its own group.
    """
    if groups is not None:
        first = np.unique(groups, return_index=True)[1]
        return stratified_folds(labels[first], n_folds, seed)[groups]
    order = numpy_stream(seed, "folds").permutation(len(labels))
    folds = np.full(len(labels), -1, dtype=np.int64)
    start = 0
    for label in np.unique(labels):
        members = order[labels[order] == label]
        if len(members) > 1:
            folds[members] = (np.arange(len(members)) + start) % n_folds
            start += len(members)
    return folds


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the most probable temperature given the labels and a log-normal prior around 1.

    Args:
        logits: (n, C), from models that have not seen the labels; n may be 0, which gives 1.
        labels: int64 (n,).
    """
    exponents = torch.linspace(-_LIMIT, _LIMIT, _VALUES, dtype=torch.float64, device=logits.device)
    wide = logits.double()
    losses = [
        torch.nn.functional.cross_entropy(wide * math.exp(-exponent), labels, reduction="sum")
        + 0.5 * (exponent / _SPREAD) ** 2
        for exponent in exponents.tolist()
    ]
    return math.exp(float(exponents[torch.stack([torch.as_tensor(loss) for loss in losses]).argmin()]))
