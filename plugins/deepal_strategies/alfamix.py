"""ALFA-Mix: samples whose predicted class changes when a little of a labeled class is mixed into their embedding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from deepal_autoal import InputError, Query, QueryError, Strategy
from deepal_strategies.shared.diverse_batches import cluster_members
from deepal_strategies.shared.row_blocks import DISTANCES

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import FittedModel, QueryContext


class ALFAMix(Strategy):
    """One sample from each cluster of those whose prediction a small mixing with labeled classes changes.

    Parvaneh et al., CVPR 2022, with the closed form of the mixing. The anchor of a class is the mean embedding of its
    labeled samples, or of all of them if it has none. A candidate z is mixed with each anchor a as α a + (1 - α) z,
    where α = ε ‖a - z‖ g / (‖g‖ (a - z)) by components, g is the gradient of the cross-entropy of z's predicted class
    y with respect to z, and ε = cap/√D. Only components in which a and z differ can change. Samples whose predicted
    class is no longer y for some anchor are eligible: k-means with b clusters on their embeddings, scaled to
    length one, and the one nearest to each center. As in the authors' code, the cap grows in steps of ``alpha_cap``
    until more than b are eligible or it has reached 1; if there are fewer than b, random other candidates fill the
    batch. Without labels there are no anchors, and the batch is random.

    The round's record has the number of eligible samples, the cap at the end, and the clustering.

    Args:
        alpha_cap: Step of the cap, in (0, 1]; the authors' for the closed form is 0.2.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings", "differentiable"})

    def __init__(self, alpha_cap: float = 0.2) -> None:
        if not 0 < alpha_cap <= 1:
            raise InputError(f"option alpha_cap is {alpha_cap}; it must be above 0 and at most 1")
        self.alpha_cap = alpha_cap

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the samples from the clusters, then the random ones.

        Raises:
            QueryError: If the model's last layer has no gradients, or embeddings are not finite.
        """
        embeddings, anchors = context.candidates.embeddings(), _anchors(context)
        eligible = torch.zeros(len(embeddings), dtype=torch.bool, device=context.device)
        cap, n_eligible = 0.0, 0
        while len(anchors) and cap < 1.0 and n_eligible <= batch_size:
            cap += self.alpha_cap
            for rows in DISTANCES.blocks(len(embeddings), embeddings.shape[1], context.device):
                step = cap / math.sqrt(embeddings.shape[1])
                eligible[rows] |= changes_class(context.model, embeddings[rows], anchors, step)
            n_eligible = int(eligible.sum())
        is_eligible = eligible.cpu().numpy()
        among, others = np.flatnonzero(is_eligible), np.flatnonzero(~is_eligible)
        report: dict[str, object] = {"eligible": n_eligible, "cap": cap}
        chosen = among[:0]
        if len(among):
            scaled = F.normalize(embeddings[among], dim=1)
            members, report["clustering"] = cluster_members(scaled, min(batch_size, len(among)), context.rng)
            chosen = among[members]
        filling = context.rng.choice(others, batch_size - len(chosen), replace=False)
        return Query(context.candidates.indices[np.concatenate([chosen, filling])], report)


def changes_class(model: FittedModel, embeddings: Tensor, anchors: Tensor, step: float) -> Tensor:
    """Return whether mixing with some anchor changes the predicted class, bool (n,).

    Args:
        model: Its last layer predicts.
        embeddings: (n, D).
        anchors: (m, D).
        step: ε.

    Raises:
        QueryError: If the last layer has no gradients.
    """
    with torch.enable_grad():
        inputs = embeddings.detach().clone().requires_grad_()
        logits = model.module.head(inputs)
        predicted = logits.detach().argmax(dim=1)
        if not logits.requires_grad:
            raise QueryError("alfamix: the model's last layer has no gradients; choose another --model")
        # The cross-entropy's gradient by logits is p - e_y; divided by 1 - p_y it is this, also where p_y rounds to 1.
        others = logits.detach().scatter(1, predicted[:, None], -torch.inf).softmax(dim=1).nan_to_num(0.0)
        (gradients,) = torch.autograd.grad(logits, inputs, others.scatter(1, predicted[:, None], -1.0))
    directions = F.normalize(gradients, dim=1, eps=float(torch.finfo(gradients.dtype).tiny))
    changes = torch.zeros(len(embeddings), dtype=torch.bool, device=embeddings.device)
    for anchor in anchors:
        gaps = anchor - embeddings
        lengths = step * torch.linalg.vector_norm(gaps, dim=1, keepdim=True)
        # α (a - z): the anchor's direction cancels except for components of 0.
        mixed = embeddings + lengths * directions * (gaps != 0)
        changes |= model.logits_from_embeddings(mixed).argmax(dim=1) != predicted
    return changes


def _anchors(context: QueryContext) -> Tensor:
    """Return the different anchors of all classes, (m, D); none without labels."""
    embeddings, labels = context.labeled.embeddings(), context.labeled.labels
    if not len(embeddings):
        return embeddings
    members = F.one_hot(labels, context.n_classes).to(embeddings.dtype)
    counts = members.sum(dim=0)
    anchors = (members.T @ embeddings)[counts > 0] / counts[counts > 0, None]
    if len(anchors) < context.n_classes:
        anchors = torch.cat([anchors, embeddings.mean(dim=0, keepdim=True)])
    return anchors
