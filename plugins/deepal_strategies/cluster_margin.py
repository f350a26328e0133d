"""Cluster-Margin: the smallest margins, taken in turn from clusters of the pool that stay the same in all rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from deepal_autoal import InputError, Query, Strategy, top_scores
from deepal_strategies.shared.lloyd import nearest_centers, sum_groups
from deepal_strategies.shared.option_checks import check_at_least, check_positive
from deepal_strategies.shared.row_blocks import COVERAGE
from deepal_strategies.shared.scaling import scaled, unit_of
from deepal_strategies.shared.uncertainty import negative_margin

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Samples in the hierarchical clustering, whose distances take 4 n² bytes: 64 MB.
LINKAGE_SAMPLES = 4000
# Samples of those in a cluster by default, on average.
CLUSTER_SIZE = 10


class ClusterMargin(Strategy):
    """Small margins, taken in turn from the smallest clusters on (Citovsky et al., NeurIPS 2021).

    In the first query all samples are clustered once, by average linkage on the task model's embeddings, cut at a
    distance ε. In every round the ``oversample``·b candidates with the smallest margins are grouped by these clusters,
    and the groups, the smallest first, give a random member each in turn until there are b.

    Average linkage takes memory for all pairs. Beyond 4,000 samples, that many random ones are clustered, and every
    other sample joins the cluster with the nearest mean. The paper clusters with the model trained on the first
    labels; embeddings of a network trained on few are poor, so frozen embeddings are the better features. If the pool
    has grown since, it is clustered again.

    Args:
        oversample: Margins considered, in batches, k_m/k_t: 10 on Open Images.
        epsilon: Distance ε at which clusters are cut; by default such that they hold at least ten of the clustered
            samples on average.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def __init__(self, oversample: float = 10.0, epsilon: float | None = None) -> None:
        check_at_least("oversample", oversample, 1)
        if epsilon is not None:
            check_positive("epsilon", epsilon)
        self.oversample = oversample
        self.epsilon = epsilon
        # Pool indices, ascending, and the cluster of each.
        self._samples = np.empty(0, dtype=np.int64)
        self._clusters = np.empty(0, dtype=np.int64)

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order of the turns; the report holds the numbers of clusters and of groups."""
        indices = context.candidates.indices
        if not np.isin(indices, self._samples).all():
            self._cluster(context)
        margins = negative_margin(context.candidates.log_probabilities())
        n_kept = min(len(indices), max(batch_size, round(self.oversample * batch_size)))
        kept = indices[top_scores(margins, n_kept, context.generator).cpu().numpy()]
        groups = self._clusters[np.searchsorted(self._samples, kept)]
        chosen = in_turns(groups, batch_size, context.rng)
        report = {"clusters": len(np.unique(self._clusters)), "groups": len(np.unique(groups))}
        return Query(kept[chosen], report)

    def _cluster(self, context: QueryContext) -> None:
        views = (context.candidates, context.labeled)
        samples = np.concatenate([view.indices for view in views])
        order = np.argsort(samples)
        embeddings = torch.cat([view.embeddings() for view in views])
        clusters, epsilon = average_linkage(embeddings, self.epsilon, context.generator)
        context.report(epsilon=epsilon)
        self._samples, self._clusters = samples[order], clusters[order]

    def state_dict(self) -> dict[str, Any]:
        """Return the clusters."""
        return {"samples": self._samples, "clusters": self._clusters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the clusters."""
        if set(state) != {"samples", "clusters"}:
            raise InputError(f"{self} keeps samples and clusters, but was given a state with {sorted(state)}")
        self._samples, self._clusters = (np.asarray(state[name]) for name in ("samples", "clusters"))


def in_turns(groups: NDArray[np.int64], batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return positions: a random one of each group in turn, groups in ascending order of size, until there are enough.

    Args:
        groups: Each sample's group, (n,).
        batch_size: At most n.
        rng: Draws members, and the order of groups of one size.
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # In random order; a sample's turn is the number of its group's samples before it.
    order = rng.permutation(len(groups))
    ordered = groups[order]
    by_group = np.argsort(ordered, kind="stable")
    turns = np.empty(len(groups), dtype=np.int64)
    turns[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    priority = rng.permutation(len(sizes))
    chosen: NDArray[np.int64] = order[np.lexsort((priority[ordered], sizes[ordered], turns))[:batch_size]]
    return chosen


def average_linkage(
    embeddings: Tensor, epsilon: float | None, generator: torch.Generator
) -> tuple[NDArray[np.int64], float]:
    """Return each row's cluster by average linkage, (n,), and the distance ε of the cut (see `ClusterMargin`).

    Args:
        embeddings: Shape (n, D).
        epsilon: ε; None for ten rows a cluster.
        generator: On the embeddings' device; draws the rows that are clustered where there are too many.
    """
    unit = unit_of(embeddings)
    n_rows = len(embeddings)
    drawn = torch.randperm(n_rows, generator=generator, device=embeddings.device)[:LINKAGE_SAMPLES].sort().values
    rows = scaled(embeddings[drawn], unit)
    if len(rows) < 2:
        return np.zeros(n_rows, dtype=np.int64), 0.0
    tree = linkage(torch.pdist(rows).cpu().numpy(), method="average")
    if epsilon is None:
        # Heights of average linkage only rise: after n - K merges there are K clusters.
        n_clusters = max(1, len(rows) // CLUSTER_SIZE)
        height = float(tree[len(rows) - n_clusters - 1, 2])
    else:
        height = epsilon * unit
    labels = torch.as_tensor(fcluster(tree, height, criterion="distance") - 1, device=rows.device).long()
    if len(rows) == n_rows:
        return labels.cpu().numpy(), height / unit
    counts = torch.bincount(labels)
    centers = sum_groups(rows, torch.ones_like(rows[:, 0]), labels.argsort(stable=True), counts)[0] / counts[:, None]
    clusters = torch.empty(n_rows, dtype=torch.int64, device=rows.device)
    for part in COVERAGE.blocks(n_rows, rows.shape[1], rows.device):
        clusters[part] = nearest_centers(scaled(embeddings[part], unit), centers)[1]
    clusters[drawn] = labels
    return clusters.cpu().numpy(), height / unit
