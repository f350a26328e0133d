"""k-means that gives the same clusters whatever the number of threads."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ITERATIONS = 50
# n·K·D, the multiplications of one iteration over all rows, above which mini-batches replace full passes.
FULL_PASS_LIMIT = 10**9


def cluster(rows: NDArray[np.float32], n_clusters: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return each row's cluster, int64 (n,), in 0 ... ``n_clusters`` - 1.

    Where rows coincide, some clusters may be empty.

    Args:
        rows: Shape (n, D), finite.
        n_clusters: K, 1 ... n.
        rng: Seeds the clustering.
    """
    seed = int(rng.integers(2**31))
    if rows.size * n_clusters <= FULL_PASS_LIMIT:
        model = KMeans(n_clusters, n_init=1, max_iter=MAX_ITERATIONS, random_state=seed)
    else:
        model = MiniBatchKMeans(
            n_clusters, n_init=1, max_iter=MAX_ITERATIONS, batch_size=max(1024, 4 * n_clusters), random_state=seed
        )
    # One thread: scikit-learn adds the threads' partial sums in the order in which they finish, which changes the last
    # bits, and with them the clusters.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        labels: NDArray[np.int64] = model.fit(rows).labels_.astype(np.int64)
    return labels
