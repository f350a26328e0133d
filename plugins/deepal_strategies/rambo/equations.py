"""The equations of RAMBO, one small function each (Ding, Chen, Jia & Chen, UAI 2024).

Where the paper leaves something open, the function says what was chosen. S₀ are the labeled samples that models learn
from, ξ a subset of them, u(ξ) its utility; φ(ξ) is the embedding of a set, s(ξ) its ranking score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

# λ₁, λ₂ of the two squared errors and λ₃ of the penalty on negative distances in the transport loss.
TRANSPORT_LAMBDAS = (0.5, 0.5, 1.0)


def utility(predicted: Tensor, labels: Tensor) -> float:
    """Return u(ξ), equation (1): the accuracy on the validation samples of a model trained on ξ, in [0, 1].

    The paper prints the error, but maximizes it; we take the accuracy.

    Args:
        predicted: Classes, (V,).
        labels: True classes, (V,).
    """
    return (predicted == labels).double().mean().item()


def nearness(to_before: Tensor, to_after: Tensor) -> Tensor:
    """Return α = d(ξ, S_{i+1})/(d(ξ, S_{i+1}) + d(ξ, S_i)), (n,) in [0, 1] (appendix A.3): 1 for ξ = S_i.

    ½ where both distances are 0, which the paper leaves open.

    Args:
        to_before: d(ξ, S_i), Euclidean distances of the sets' embeddings φ, (n,).
        to_after: d(ξ, S_{i+1}), (n,).
    """
    total = to_before + to_after
    return torch.where(total > 0, to_after / total.clamp_min(torch.finfo(total.dtype).tiny), 0.5)


def interpolated_utility(alpha: Tensor, before: float, after: float) -> Tensor:
    """Return u(ξ) = α·acc_i + (1 - α)·acc_{i+1}, (n,) (appendix A.3)."""
    return alpha * before + (1 - alpha) * after


def ranking_loss(first: Tensor, second: Tensor, u_first: Tensor, u_second: Tensor) -> Tensor:
    """Return L_rank, the mean cross-entropy of P₁₂ = σ(s₁ - s₂) and 1[u₁ > u₂] (RankNet, Burges et al. 2005).

    For equal utilities, which the paper leaves open, the target is ½, as in RankNet.

    Args:
        first: s(ξ₁) of each pair, (n,).
        second: s(ξ₂), (n,).
        u_first: u(ξ₁), (n,).
        u_second: u(ξ₂), (n,).
    """
    targets = 0.5 * (1 + torch.sign(u_first - u_second)).to(first.dtype)
    return F.binary_cross_entropy_with_logits(first - second, targets)


def transport_loss(first: Tensor, second: Tensor, d_first: Tensor, d_second: Tensor) -> Tensor:
    """Return L_OT, mean over pairs: λ₁(ÔT₁ - OT₁)² + λ₂(ÔT₂ - OT₂)² - λ₃(min(ÔT₁, 0) + min(ÔT₂, 0)).

    Args:
        first: ÔT₁, predicted distance of ξ₁ to the validation set, (n,).
        second: ÔT₂, (n,).
        d_first: OT₁, (n,), at least 0.
        d_second: OT₂, (n,), at least 0.
    """
    one, two, three = TRANSPORT_LAMBDAS
    squares = one * (first - d_first).square() + two * (second - d_second).square()
    return (squares - three * (first.clamp(max=0) + second.clamp(max=0))).mean()


def regression_loss(scores: Tensor, utilities: Tensor) -> Tensor:
    """Return the mean squared error of predicted utilities: DULO's loss, and RAMBO's without ranking."""
    return F.mse_loss(scores, utilities)


def multitask_loss(main: Tensor, transport: Tensor | None, weight: float) -> Tensor:
    """Return L = L_rank + λ_OT·L_OT; without the second task, L_rank."""
    return main if transport is None else main + weight * transport


def regularizer(parameters: Mapping[str, Tensor], log_weights: Tensor) -> Tensor:
    """Return Ω_λ(w) = Σ_l exp(λ_l)·‖W_l‖², with one λ for each weight matrix, in the order of ``parameters``.

    The paper does not say what Ω is. Biases are free.
    """
    norms = torch.stack([value.square().sum() for value in parameters.values() if value.ndim > 1])
    return (log_weights.exp() * norms).sum()
