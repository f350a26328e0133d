"""The posterior of a softmax regression's logits: Laplace's approximation with a Kronecker-factored curvature.

The curvature of the summed cross-entropy is a sum of ``x xᵀ ⊗ (diag(p) − p pᵀ)`` over the labeled samples. It is
approximated by ``(sum x xᵀ) ⊗ (mean of diag(p) − p pᵀ)`` (Ritter, Botev & Barber 2018; Daxberger et al. 2021), whose
eigenvectors are products of the factors' eigenvectors. The prior's precision is added to each eigenvalue, so every
variance has a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deepal_autoal.models.softmax_regression import BIAS_PRECISION

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal.models.softmax_regression import Features


@dataclass(frozen=True)
class Posterior:
    """The variance of a sample's logits in the directions ``rotation``.

    With ``z`` (r,) the sample's features and ``rest`` the squared length of the part that they omit, it is
    ``z² @ variances + rest / precision + bias_variances``, (C,).

    Attributes:
        variances: (r, C), per feature and direction.
        bias_variances: (C,).
        rotation: (C, C), orthonormal directions as columns.
        precision: Precision of the prior.
    """

    variances: Tensor
    bias_variances: Tensor
    rotation: Tensor
    precision: float


def laplace(features: Features, sample_weights: Tensor, weights: Tensor, precision: float) -> Posterior:
    """Return the posterior at the minimum.

    Args:
        features: The labeled samples; orthogonal columns of mean zero.
        sample_weights: (M,).
        weights: The minimum, (r + 1, C), the bias last.
        precision: Precision of the weights' prior.
    """
    everything = torch.arange(len(features.rows), device=features.rows.device)
    p = features.log_probabilities(weights, everything).exp()
    total = sample_weights.sum()
    weighted = p * sample_weights[:, None]
    curvature = (torch.diag(weighted.sum(dim=0)) - weighted.T @ p) / total
    eigenvalues, rotation = torch.linalg.eigh(curvature)
    eigenvalues = eigenvalues.clamp_min(0)
    spectrum = features.spectrum * (total / len(features.rows))
    return Posterior(
        variances=(spectrum[:, None] * eigenvalues + precision).reciprocal(),
        bias_variances=(total * eigenvalues + BIAS_PRECISION).reciprocal(),
        rotation=rotation,
        precision=precision,
    )
