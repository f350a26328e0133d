"""DropQuery: the samples whose predicted class changes under dropout, one from each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import Query, Strategy
from deepal_strategies.shared.coverage import unit_rows
from deepal_strategies.shared.diverse_batches import cluster_members
from deepal_strategies.shared.option_checks import check_at_least

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext

# The threshold is lowered while fewer candidates than this many batches are above it.
FEWEST_BATCHES = 25


class DropQuery(Strategy):
    """One sample from each cluster of those whose class changes under dropout (Gupte et al., TMLR 2024).

    A sample's class is predicted without dropout and in M passes with it. Candidates are the samples whose class
    differs in more than M/2 passes, rounded down; while they are fewer than 25 batches, one pass less suffices, down to
    a single one. k-means clusters their embeddings, scaled to length 1, and the sample nearest to each center is
    queried. Where fewer than a batch are candidates, random others fill it. Without labeled samples all samples are
    candidates, which is the paper's initial set.

    The paper's model is a linear classifier of frozen embeddings, trained with dropout on them at a rate of 0.75;
    passes here use the model's own rate, the one that it was trained with.

    Args:
        n_passes: Number of dropout passes, M.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"probabilities", "embeddings", "mc_dropout"})

    def __init__(self, n_passes: int = 3) -> None:
        check_at_least("n_passes", n_passes, 1)
        self.n_passes = n_passes

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch; the report holds the threshold, the number of candidates and the clustering."""
        n_unlabeled = len(context.candidates)
        positions, threshold = np.arange(n_unlabeled), 0
        if len(context.labeled):
            changes = count_changes(context, self.n_passes)
            threshold = self.n_passes // 2
            while threshold and (changes > threshold).sum() < FEWEST_BATCHES * batch_size:
                threshold -= 1
            positions = np.flatnonzero(changes > threshold)
            context.report(threshold=threshold)
        context.report(changing=len(positions))
        chosen = positions
        if len(positions) > batch_size:
            kept = unit_rows(context.candidates.embeddings(), chosen=torch.as_tensor(positions, device=context.device))
            members, clustering = cluster_members(kept, batch_size, context.rng)
            context.report(clustering=clustering)
            chosen = positions[members]
        elif len(positions) < batch_size:
            others = np.setdiff1d(np.arange(n_unlabeled), positions)
            fill = context.rng.choice(others, batch_size - len(positions), replace=False)
            chosen = np.concatenate([positions, fill])
        return Query(context.candidates.indices[chosen])


def count_changes(context: QueryContext, n_passes: int) -> NDArray[np.int64]:
    """Return in how many dropout passes each candidate's class is not that without dropout, (N,)."""
    view = context.candidates
    predicted = view.log_probabilities().argmax(dim=1)
    changes = torch.empty_like(predicted)
    start = 0
    for passes in view.mc_batches(n_passes):
        end = start + passes.shape[1]
        changes[start:end] = (passes.argmax(dim=2) != predicted[start:end]).sum(dim=0)
        start = end
    counts: NDArray[np.int64] = changes.cpu().numpy()
    return counts
