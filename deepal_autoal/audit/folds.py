"""How labeled samples are divided, so that each is predicted by models that were not trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray


def audit_folds(labels: NDArray[np.int64], is_audited: NDArray[np.bool_], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return each sample's fold, int64 (n,), from 0: classes, and audited samples within each, are spread evenly.

    Unlike in calibration, a class's only sample is in a fold too: leaving it out would make the model look better.
    """
    order = numpy_stream(seed, "folds").permutation(len(labels))
    order = order[np.lexsort((is_audited[order], labels[order]))]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds
