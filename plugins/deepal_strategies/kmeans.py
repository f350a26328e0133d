"""One sample from each k-means cluster of the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import Strategy
from deepal_strategies.diversity import nearest_to_centroids

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext


class KMeansSampling(Strategy):
    """The samples nearest to the centres of k-means clusters of the embeddings, one for each."""

    requires = frozenset({"embeddings"})

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return one sample from each of ``batch_size`` clusters of the candidates' embeddings."""
        positions = nearest_to_centroids(context.candidates.embeddings(), batch_size, context.rng)
        return context.candidates.indices[positions]
