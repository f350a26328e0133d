"""Kernel herding: samples whose mean resembles the mean of the whole pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F

from deepal_autoal import InputError, Query, Strategy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import PoolView, QueryContext

# Samples read at a time.
READ_ROWS = 4096


class KernelHerding(Strategy):
    """The samples that together represent the pool best (Chen, Welling & Smola, UAI 2010).

    With features of length 1, whose inner product k is the cosine, the next sample is the candidate with the highest
    mean_{x ∈ pool} k(·, x) - Σ_{s ∈ S} k(·, s) / (|S| + 1), where S are the labeled and the chosen samples: typical of
    the pool, and unlike what has been chosen. This greedily reduces the distance between the mean of S and that of
    the pool, their maximum mean discrepancy. The pool's part is one product with its mean vector, and each choice
    takes one more product: O(N·D), without a matrix of similarities. Labels are not used, so none is needed.

    The paper draws an endless sequence, in which samples may recur. Here each is chosen once, and those labeled before
    count as its beginning, wherever they come from. With the model ``rff`` the inner products of embeddings
    approximate the Gaussian kernel, as in the paper's experiments.

    Args:
        features: ``embeddings``: the task model's. ``inputs``: the samples as the model gets them, images as vectors
            of pixels, which do not change with the labels.
        labeled_weight: How much a labeled sample counts in S, compared with one of the batch; 0 ignores them.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings"})

    def __init__(self, features: Literal["embeddings", "inputs"] = "embeddings", labeled_weight: float = 1.0) -> None:
        if features not in ("embeddings", "inputs"):
            raise InputError(f"option features is {features!r}; choose one of embeddings, inputs")
        if not 0 <= labeled_weight < float("inf"):
            raise InputError(f"option labeled_weight is {labeled_weight}; it must be a finite number of at least 0")
        self.features = features
        self.labeled_weight = labeled_weight
        self.requires = frozenset({features})

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch in the order of the choices; the report holds the discrepancy, in [0, 2], before and after.

        Without labeled samples there is none before.
        """
        # In random order, so no tie is broken by position: the first of several maxima is taken.
        order = torch.randperm(len(context.candidates), generator=context.generator, device=context.device)
        rows, labeled = self._rows(context.candidates)[order], self._rows(context.labeled)
        goal = (rows.sum(dim=0) + labeled.sum(dim=0)) / (len(rows) + len(labeled))
        total, weight = self.labeled_weight * labeled.sum(dim=0), self.labeled_weight * len(labeled)
        if weight:
            context.report(discrepancy_before=float((total / weight - goal).norm()))
        typical, covered = rows @ goal, rows @ total
        chosen = order.new_empty(batch_size)
        for number in range(batch_size):
            context.progress(number, batch_size)
            # Shape (1,): indexing by a number would wait for a GPU.
            best = (typical - covered / (weight + number + 1)).argmax(dim=0, keepdim=True)
            chosen[number : number + 1] = best
            typical[best] = -torch.inf
            total = total + rows[best].squeeze(0)
            covered += (rows @ rows[best].T).squeeze(1)
        context.report(discrepancy_after=float((total / (weight + batch_size) - goal).norm()))
        return Query(context.candidates.indices[order[chosen].cpu().numpy()])

    def _rows(self, view: PoolView) -> Tensor:
        """Return a view's features, scaled to length 1, float32 (N, D); zero rows stay zero."""
        if self.features == "embeddings":
            rows = view.embeddings()
        else:
            rows = torch.cat([batch.flatten(1) for batch in view.batches(READ_ROWS)])
        # By the largest entry first, so that no square overflows or vanishes.
        tiny = torch.finfo(rows.dtype).tiny
        return F.normalize(rows / rows.abs().amax(dim=1, keepdim=True).clamp(min=tiny), dim=1)
