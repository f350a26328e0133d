"""The Wisconsin breast cancer table bundled with scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal import Dataset

if TYPE_CHECKING:
    from pathlib import Path

N_TEST = 200
SPLIT_SEED = 0


def load(data_dir: Path) -> Dataset:
    """Return 369 training and 200 test samples: 30 features, float64, unchanged; malignant (0) or benign (1).

    The table has no test split of its own. A random one is held out, the same for every seed of a run. It is this
    large because with the usual fifth, 113 samples, each sample would be most of a point of accuracy.

    Args:
        data_dir: Not used, as the data are part of scikit-learn.
    """
    # Imported here, as it takes seconds, for which listings need not wait.
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    # numpy guarantees that this legacy generator's stream never changes, but not those of the new generators.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(table.data))
    test, train = np.sort(order[:N_TEST]), np.sort(order[N_TEST:])
    return Dataset(
        "breast-cancer",
        table.data[train],
        table.target[train],
        table.data[test],
        table.target[test],
        tuple(str(name) for name in table.target_names),
        source={
            "kind": "scikit-learn's load_breast_cancer",
            "test split": f"{N_TEST} of {len(order)} rows, by numpy's RandomState({SPLIT_SEED}).permutation",
        },
    )
