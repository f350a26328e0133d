"""One sample from each k-means cluster of the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import Query, Strategy
from deepal_strategies.shared.clustering import FULL_PASS_LIMIT
from deepal_strategies.shared.diverse_batches import cluster_members
from deepal_strategies.shared.option_checks import check_at_least

if TYPE_CHECKING:
    from deepal_autoal import QueryContext


class KMeansSampling(Strategy):
    """The samples nearest to the centers of k-means clusters of the embeddings, one for each center.

    Args:
        full_pass_limit: N·b·D, the multiplications that compare all candidates with all centers once, above which the
            centers come from a random subset of the candidates (see `k_means`). The round's record holds the form
            used, its iterations and inertia.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings"})

    def __init__(self, full_pass_limit: float = FULL_PASS_LIMIT) -> None:
        check_at_least("full_pass_limit", full_pass_limit, 0)
        self.full_pass_limit = full_pass_limit

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return one sample from each of ``batch_size`` clusters of the candidates' embeddings."""
        positions, clustering = cluster_members(
            context.candidates.embeddings(), batch_size, context.rng, full_pass_limit=self.full_pass_limit
        )
        return Query(context.candidates.indices[positions], {"clustering": clustering})
