"""The Wisconsin breast cancer table that scikit-learn brings along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal import Dataset

if TYPE_CHECKING:
    from pathlib import Path

N_TEST = 200
SPLIT_SEED = 0


def load(data_dir: Path) -> Dataset:
    """Return 369 training and 200 test samples: 30 features, float64, as they are; malignant (0) or benign (1).

    The table has no test split of its own. A random one is held out, the same for every seed of a run; as large as
    that since one of the usual fifth's 113 samples would be most of a point of accuracy.

    Args:
        data_dir: Not used: the data come with scikit-learn.
    """
    # Seconds to import, which listings need not wait for.
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    # numpy promises that this old generator's stream never changes; of the new ones it does not.
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
