"""Equations (5)-(9) of AutoAL, one function each, and where and why we depart from the printed form.

A batch B has n samples; there are K candidates. (2)-(4), and ϑ of (5), are in `threshold`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepal_strategies.shared.ranks import mid_ranks

if TYPE_CHECKING:
    from torch import Tensor

# Width of the soft count's step, in units of the batch's root mean square of S̄.
TEMPERATURE = 0.25
_TINY = 1e-12


def thresholded(scores: Tensor, threshold: float, weights: Tensor) -> Tensor:
    """Equation (5): Ŝ_κ(x_j) = (S_κ(x_j) - ϑ)·W_κ,j.

    S_κ is the candidate's rank of the sample in [0, 1] by default. With binary picks of share ρ (as printed,
    ``scores="picks"``) the top-ρ quantile is at the jump: with ϑ near 1 picked samples lose their signal, near 0 all
    others do.

    Args:
        scores: S, (n, K) in [0, 1].
        threshold: ϑ, the same for all candidates.
        weights: W, (n, K), rows sum to 1.

    Returns:
        (n, K).
    """
    return (scores - threshold) * weights


def combined(thresholded_scores: Tensor, mixing_logits: Tensor, scale: float = 1.0) -> Tensor:
    """Equation (6): S̄(x_j) = Σ_κ λ·sigmoid(Θ_κ^(j))·Ŝ_κ(x_j); each row depends on its own sample only.

    Θ is SearchNet's second output: if it were free parameters of the labeled samples, it could not score unlabeled
    ones.

    Args:
        thresholded_scores: Ŝ, (n, K).
        mixing_logits: Θ, (n, K).
        scale: λ. A constant factor does not change the order of samples.

    Returns:
        (n,).
    """
    return scale * (mixing_logits.sigmoid() * thresholded_scores).sum(dim=1)


def spread(search_scores: Tensor) -> Tensor:
    """Return the root mean square of S̄ over the batch, with its gradient.

    Dividing by it makes losses and counts independent of the arbitrary scale of W, Θ and λ. The gradient must pass
    through it: if it were a constant, the losses' values would not depend on the scale but their gradients would, and
    a search whose picks have low loss would shrink all of S̄, and with it sigmoid(Θ), toward 0.
    """
    return search_scores.square().mean().clamp_min(_TINY).sqrt()


def fit_weights(search_scores: Tensor, method: str) -> Tensor:
    """Return the weights of equation (7), constants to the gradient.

    ``"printed"`` is S̄/n itself, negative for most samples that no candidate picked: FitNet then maximizes their
    cross-entropy without bound. ``"softmax"`` keeps the order and makes the weights positive and sum to 1.

    Args:
        search_scores: S̄, (n,).
        method: ``"softmax"`` or ``"printed"``.
    """
    scores = search_scores.detach()
    if method == "printed":
        return scores / len(scores)
    return (scores / spread(scores)).softmax(dim=0)


def fit_loss(weights: Tensor, cross_entropy: Tensor, regularizer: Tensor, regularizer_weight: float) -> Tensor:
    """Equation (7): L_F = Σ_j w_j·CE_j + λ̄·L_re, which updates FitNet.

    α counts what SearchNet selects, so L_re is a constant here: it is part of the value, not of the gradient.
    The paper adds L_re to both losses with opposite signs, which is right only for this reason.

    Args:
        weights: From `fit_weights`, (n,).
        cross_entropy: CE of FitNet, (n,).
        regularizer: L_re, a scalar.
        regularizer_weight: λ̄.
    """
    return (weights * cross_entropy).sum() + regularizer_weight * regularizer.detach()


def utilities(cross_entropy: Tensor, alignment: Tensor, objective: str) -> Tensor:
    """Return what equation (8) rewards for selecting each sample; sums to 0 over the batch unless ``"loss"``.

    ``"loss"`` is CE as printed. Every CE is positive and only scales its own sample's term, so the best W and Θ of
    a sample hardly depend on it: the search imitates the picks. A preference for candidates whose picks have *high*
    loss needs a comparison between samples: ``"centred"`` is the difference of CE from the batch's mean, divided by
    its standard deviation; ``"ranked"`` is the mid-rank of CE from -1 to 1, which no outlier dominates.
    ``"alignment"``, not in the paper, rewards something other than high loss: the mid-rank of `gradient_alignment`,
    how far a step on the sample lowers the loss of the others.

    Args:
        cross_entropy: CE of samples that FitNet was not trained on (otherwise it is about 0), (n,).
        alignment: Gradient alignment of the same samples, (n,).
        objective: ``"ranked"``, ``"centred"``, ``"alignment"`` or ``"loss"``.
    """
    losses = cross_entropy.detach()
    if objective == "loss":
        return losses
    if objective == "ranked":
        return 2.0 * mid_ranks(losses) - 1.0
    if objective == "alignment":
        return 2.0 * mid_ranks(alignment.detach()) - 1.0
    centred = losses - losses.mean()
    return centred / centred.square().mean().sqrt().clamp_min(_TINY)


def gradient_alignment(residuals: Tensor, features: Tensor) -> Tensor:
    """Return u_j = Σ_{i≠j} ⟨∇CE_i, ∇CE_j⟩ for the gradients with respect to the last layer's weights, r_j h_jᵀ.

    To first order, a gradient step on sample j lowers the summed loss of the others in proportion to u_j.

    Args:
        residuals: r, softmax(logits) - onehot(label), (n, C).
        features: h, the last layer's inputs, with a 1 appended for its bias, (n, D).

    Returns:
        (n,), in O(n·C·D): no gradient is formed.
    """
    total = residuals.T @ features
    return ((residuals @ total) * features).sum(dim=1) - residuals.square().sum(dim=1) * features.square().sum(dim=1)


def search_loss(search_scores: Tensor, utility: Tensor, penalty: Tensor, regularizer_weight: float) -> Tensor:
    """Equation (8): L_S = -mean_j S̄(x_j)·u_j + λ̄·penalty, which updates SearchNet.

    Gradient ascent on the loss of the selected samples. As printed, u is CE and the penalty is -L_re.

    Args:
        search_scores: S̄, (n,), with SearchNet's gradient; divided by `spread` in the default variant.
        utility: u of `utilities`, (n,).
        penalty: 0 if the right number is selected, otherwise higher.
        regularizer_weight: λ̄.
    """
    return -(search_scores * utility).mean() + regularizer_weight * penalty


def selected_count(search_scores: Tensor, method: str) -> Tensor:
    """Return α, the number of selected samples (S̄ > 0), a scalar.

    ``"soft"`` is Σ_j sigmoid(S̄_j/τ), a count with a gradient; τ is `TEMPERATURE` times the batch's `spread`.
    ``"exact"`` counts as the paper says. It is a constant to SearchNet, so that L_re has no gradient; with a step as
    steep as 1e11 the gradient is 0 too, in any float arithmetic.

    Args:
        search_scores: S̄, (n,).
        method: ``"soft"`` or ``"exact"``.
    """
    if method == "exact":
        return (search_scores > 0).sum().to(search_scores)
    return (search_scores / (TEMPERATURE * spread(search_scores))).sigmoid().sum()


def selection_regularizer(n_selected: Tensor, n_wanted: float) -> Tensor:
    """Equation (9) as printed: L_re = 1/(1 + exp(0.5·|α - t·B|)) - 0.5, in (-0.5, 0], 0 at α = t·B.

    Args:
        n_selected: α, a scalar.
        n_wanted: t·B; here ρ·B with the rate ρ that also limits the candidates' picks, as t·B can be less than 1.
    """
    return torch.sigmoid(-0.5 * (n_selected - n_wanted).abs()) - 0.5


def selection_penalty(n_selected: Tensor, n_wanted: float) -> Tensor:
    """Return -log(2·(L_re + 1/2)) of the relative distance |α - ρB|/ρB: a `selection_regularizer` with far reach.

    The printed form is flat away from its optimum (slope 0.125 at distance 0, 2e-5 at 20) and has no effect at an α
    of half a batch. The logarithm's slope never falls below a quarter, and distances are relative to the goal.

    Returns:
        A scalar of at least 0; 0 at α = ρB.
    """
    distance = (n_selected - n_wanted).abs() / n_wanted
    # The same as log(1 + e^(d/2)) - log 2, without forming L_re + 1/2, which underflows.
    return F.softplus(0.5 * distance) - math.log(2.0)


def pair_ranking_loss(predicted: Tensor, losses: Tensor, margin: float = 1.0) -> Tensor:
    """Return the loss-prediction module's loss (Yoo & Kweon 2019): a hinge on wrongly ordered pairs.

    Mean over all pairs of max(0, ξ - sign(l_i - l_j)·(l̂_i - l̂_j)). The original pairs each sample with one other;
    the mean over all pairs is its expectation and does not depend on the order of the batch. Pairs with equal losses
    have no order and are left out.

    Args:
        predicted: l̂, (n,).
        losses: l, (n,), constants to the gradient.
        margin: ξ.
    """
    order = (losses.detach()[:, None] - losses.detach()[None, :]).sign()
    hinges = (margin - order * (predicted[:, None] - predicted[None, :])).clamp_min(0.0) * order.abs()
    return hinges.sum() / order.abs().sum().clamp_min(1.0)
